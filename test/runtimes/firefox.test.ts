import { vulkanEnv } from '../backends/webgpu/vulkan.ts'
import { launch } from '../browser/firefox.ts'
import { inBrowser } from './run.ts'

// Every look at a result takes it some milliseconds: so what a user sees, and no tables.
const vulkan = await vulkanEnv()
const browser = async () => (typeof vulkan === 'string' ? vulkan : launch(vulkan))
const seen = { files: /webgpu\/(smoke|compressor)/, suites: ['a GPU', 'compressor on WebGPU'] }
await inBrowser('Firefox', browser, [seen])
