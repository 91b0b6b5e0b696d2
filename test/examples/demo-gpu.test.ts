// The demo on WebGPU, in software: it trains as it does on wasm.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Report } from '../../examples/demo/report.ts'
import { softwareVulkanEnv } from '../../scripts/swiftshader.ts'
import { run } from './demo.ts'

const SHORT = ['-w', '2', '-s', '3', '-r', '2', '--json']
const KINDS = ['uncompressed', 'compressed'] as const

const vulkan = await softwareVulkanEnv()
const demo = suite('demo on WebGPU')

if (typeof vulkan === 'string') demo.skip(`demo on WebGPU: ${vulkan}`)
else {
  const wasm = train('wasm')

  for (const backend of ['webgpu', 'mixed'] as const) {
    demo(`${backend}: bytes, losses and parameters are as with wasm`, () => {
      const report = train(backend, '--software')
      assert.is(report.settings.backend, backend)
      assert.is(report.agreed, true)
      for (const kind of KINDS) {
        const { sentBytes, receivedBytes, measurements, parameters, apart } = report[kind]
        assert.is(sentBytes, wasm[kind].sentBytes)
        assert.is(receivedBytes, wasm[kind].receivedBytes)
        assert.is(measurements.length, wasm[kind].measurements.length)
        for (const [i, { loss }] of measurements.entries()) {
          const want = wasm[kind].measurements[i]!.loss
          assert.ok(Math.abs(loss - want) <= 1e-3, `${kind}: ${loss}, expected ${want}`)
        }
        assert.ok(apart <= 1e-6, `${kind}: ${apart}`)
        assert.is(apart === 0, new Set(parameters).size === 1)
      }
      // The sums' bits differ, so it was a GPU.
      assert.not.equal(report.compressed.parameters, wasm.compressed.parameters)
    })
  }

  const without = { VK_ICD_FILENAMES: '/dev/null', VK_DRIVER_FILES: '/dev/null' }
  for (const [where, environment, message] of [
    ['without any Vulkan', without, /WebGPU finds no adapter here: .*; --software takes the CPU/],
    ['where only software is', vulkan, /computes on the CPU \(.*SwiftShader.*; --software takes/],
  ] as const) {
    demo(`${where} it says what to do, in one line`, () => {
      const variables = Object.entries(environment).map(([name, value]) => `${name}=${value}`)
      const { status, stdout, stderr } = run(
        ['--backend', 'webgpu', '-w', '2'],
        ['env', ...variables],
      )
      assert.is(status, 1)
      assert.is(stdout, '')
      const [starting = '', line = '', ...others] = stderr.trimEnd().split('\n')
      assert.match(starting, /^starting 2 workers/)
      assert.match(line, message)
      assert.match(line, /^demo: /)
      assert.equal(others, [])
    })
  }
}

demo.run()

function train(backend: string, ...options: string[]): Report {
  const { status, stdout, stderr } = run([...SHORT, '--backend', backend, ...options])
  assert.is(status, 0, stderr)
  return JSON.parse(stdout)
}
