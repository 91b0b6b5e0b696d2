import { vulkanEnv } from '../backends/webgpu/vulkan.ts'
import { launch } from '../browser/firefox.ts'
import { inBrowser } from './run.ts'

// Firefox takes some milliseconds to read each result. So only the doors are tested, not the
// tables.
const vulkan = await vulkanEnv()
const browser = async () => (typeof vulkan === 'string' ? vulkan : launch(vulkan))
const seen = { files: /webgpu\/(smoke|compressor)/, suites: ['a GPU', 'compressor on WebGPU'] }
await inBrowser('Firefox', browser, [seen])
