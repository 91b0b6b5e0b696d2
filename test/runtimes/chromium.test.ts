import { launch } from '../browser/chromium.ts'
import { inBrowser, PARTS } from './run.ts'

await inBrowser('Chromium', () => launch({ webgpu: true }), PARTS)
