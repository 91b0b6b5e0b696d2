import { launch } from '../browser/chromium.ts'
import { inBrowser, SUITES } from './run.ts'

await inBrowser('Chromium', () => launch({ webgpu: true }), SUITES)
