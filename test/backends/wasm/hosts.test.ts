// Hosts that lack something: another way, or an UnsupportedError that says what to do. Those that
// forbid compiling, and jsdom: package/hosts.test.ts.
import { readFileSync } from 'node:fs'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { textOf, utf8 } from '../../../src/bytes.ts'
import { createCompressor, UnsupportedError, wasm } from '../../../src/index.ts'
import { wasm as threaded } from '../../../src/threads.ts'
import { errorOf } from '../../support/errors.ts'

const test = suite('hosts')

/** Runs work while globals have other values; undefined: they are missing. */
async function withGlobals<T>(values: Record<string, unknown>, work: () => Promise<T>): Promise<T> {
  const before = Object.keys(values).map((name) => {
    return [name, Object.getOwnPropertyDescriptor(globalThis, name)] as const
  })
  for (const [name, value] of Object.entries(values)) {
    Reflect.deleteProperty(globalThis, name)
    if (value !== undefined) Object.defineProperty(globalThis, name, { value, configurable: true })
  }
  try {
    return await work()
  } finally {
    for (const [name, descriptor] of before) {
      Reflect.deleteProperty(globalThis, name)
      if (descriptor) Object.defineProperty(globalThis, name, descriptor)
    }
  }
}

for (const missing of ['DecompressionStream', 'Blob', 'Response']) {
  test(`without zlib and ${missing}: wasm({ module }) is the way out`, async () => {
    const { unpackBinaries } = await import('../../../src/backends/wasm/unpack.ts')
    const error = await withGlobals({ process: undefined, [missing]: undefined }, () =>
      errorOf(unpackBinaries),
    )
    assert.instance(error, UnsupportedError)
    assert.match(error.message, /DecompressionStream.*wasm\(\{ module \}\).*lowrank\.wasm/)
  })
}

test('without zlib, streams unpack the same modules', async () => {
  const { unpackBinaries } = await import('../../../src/backends/wasm/unpack.ts')
  const streamed = await withGlobals({ process: undefined }, unpackBinaries)
  assert.equal(streamed, await unpackBinaries())
})

test('without createObjectURL, threads say so', async () => {
  const { startThread } = await import('../../../src/backends/wasm/worker.ts')
  const error = await withGlobals({ process: undefined, URL: class {}, Worker: class {} }, () =>
    errorOf(() => startThread('', String, String)),
  )
  assert.instance(error, UnsupportedError)
  assert.match(error.message, /"threads": a worker could not be started/)
})

for (const most of [1 << 15, 1 << 10]) {
  test(`shared memory of ${most} pages at most: threads take less`, async () => {
    const { Memory } = WebAssembly
    const asked: number[] = []
    WebAssembly.Memory = class extends Memory {
      constructor(limits: WebAssembly.MemoryDescriptor) {
        if (limits.shared) asked.push(limits.maximum!)
        if (limits.shared && limits.maximum! > most) throw new RangeError('too much')
        super(limits)
      }
    }
    try {
      const backend = threaded({ threads: 2 })
      const worker = await createCompressor([[600, 320]], { backend })
      assert.is(asked.at(-1), most)
      await worker.compress([new Float32Array(192_000)])
      worker.dispose()
      // 64 MiB are not enough for a larger model, and the error says how much is.
      if (most > 1024) return
      const error = await errorOf(() => createCompressor([[6000, 6000]], { backend }))
      assert.match(error.message, /this host cannot give 14\d{7} bytes/)
    } finally {
      WebAssembly.Memory = Memory
    }
  })
}

test('no shared memory at all: UnsupportedError', async () => {
  const { Memory } = WebAssembly
  WebAssembly.Memory = class extends Memory {
    constructor(limits: WebAssembly.MemoryDescriptor) {
      if (limits.shared) throw new RangeError('none')
      super(limits)
    }
  }
  try {
    const backend = threaded({ threads: 2 })
    const error = await errorOf(() => createCompressor([[60, 32]], { backend }))
    assert.instance(error, UnsupportedError)
    assert.match(error.message, /"threads": no shared memory.*none/)
  } finally {
    WebAssembly.Memory = Memory
  }
})

test('a given module is used, and nothing is compiled; others are refused', async () => {
  const bytes = readFileSync(new URL('../../../build/release.wasm', import.meta.url))
  const module = await WebAssembly.compile(bytes)
  const empty = await WebAssembly.compile(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0))
  for (const wrong of [null, bytes, {}, empty, 'lowrank.wasm']) {
    assert.throws(
      () => wasm({ module: wrong as object }),
      /"module": expected lowrank\/lowrank\.wasm/,
    )
  }
  assert.throws(() => wasm({ module, relaxed: true }), /"relaxed": "module" has decided it/)
  const { compile } = WebAssembly
  WebAssembly.compile = () => Promise.reject(new WebAssembly.CompileError('blocked by policy'))
  try {
    const backend = wasm({ module })
    for (const options of [{ backend }, {}]) {
      const worker = await createCompressor([[60, 32]], options)
      assert.ok(await worker.compress([new Float32Array(1920)]))
    }
  } finally {
    WebAssembly.compile = compile
  }
})

test('UTF-8 without TextEncoder and TextDecoder', async () => {
  const text = JSON.stringify('ß — 数 😀 \u0000 \ud800')
  const bytes = utf8(text)
  await withGlobals({ TextEncoder: undefined, TextDecoder: undefined }, async () => {
    assert.equal(utf8(text), bytes)
    assert.is(textOf(bytes), text)
    const long = 'é'.repeat(10_001)
    assert.is(textOf(utf8(long)), long)
    assert.throws(() => textOf(Uint8Array.of(0xc3)))
  })
})

test.run()
