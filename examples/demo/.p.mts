import { plot } from './plot.ts'
import { table } from './report.ts'
import { writeFileSync } from 'node:fs'
const run = (b: number, d: number) => ({ measurements: [10,20,35,50,75,100,150,200,250,300,350,400,450,500].map((step) => ({ step, sentBytes: b * step, loss: 1.9 + d + 1.3 * Math.exp(-step / 120) })), sentBytes: b, receivedBytes: b + 24, parameters: ['abcdef0123456789', 'abcdef0123456789'], compressionMs: 5.1, gradientMs: 45, aggregationMs: 1, seconds: 60 })
const r: any = { settings: { workers: 4, steps: 500, rank: 4, seed: 0 }, symbols: 121, unigramEntropy: 3.19, uncompressed: run(4464288, 0), compressed: run(78000, 0.02), compressionRatio: 57.2, lossDifference: 0.0101, identical: true }
writeFileSync('/tmp/demo/p.svg', plot(r)); console.log(table(r))
