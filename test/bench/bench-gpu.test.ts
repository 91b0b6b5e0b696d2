// The benchmark for GPUs, on a CPU in a GPU's place: everything runs, and times mean nothing.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { createLayout } from 'lowrank/kernels'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { checksOf } from '../../bench/gpu/browser/check.ts'
import { productName, productsTitle } from '../../bench/gpu/browser/main.ts'
import type { GpuReport } from '../../bench/gpu/report.ts'
import { LAYOUTS, passName, stepName, WHOLE } from '../../bench/gpu/step.ts'
import { passesTable, stepTable } from '../../bench/gpu/tables.ts'
import { torchName } from '../../bench/gpu/torch.ts'
import { GPT2, parametersOf, SMALL, TINY, TINYLLAMA } from '../../bench/models.ts'
import type { Row, Table } from '../../bench/results.ts'
import { vulkanEnv } from '../backends/webgpu/vulkan.ts'
import { launch } from '../browser/chromium.ts'

const MAIN = fileURLToPath(new URL('../../bench/gpu/main.ts', import.meta.url))
const TORCH = fileURLToPath(new URL('../../bench/gpu/torch_cuda.py', import.meta.url))

const software = await vulkanEnv()
const bench = suite('bench:gpu')

if (typeof software === 'string') bench.skip(software)
else {
  bench('on a software adapter: everything runs, and times are marked', () => {
    const folder = mkdtempSync(join(tmpdir(), 'lowrank-bench-gpu-'))
    const file = join(folder, 'gpu.json')
    try {
      const { status, stdout, stderr } = run('--tiny', '--no-torch', '--json', file)
      assert.is(status, 0, stderr)
      assert.match(stdout, 'its times are meaningless')
      const { adapter, tables, skipped, goals } = JSON.parse(
        readFileSync(file, 'utf8'),
      ) as GpuReport
      assert.is(adapter.software, true)
      assert.match(JSON.stringify(adapter), /swiftshader/i)
      assert.ok(adapter.limits.maxStorageBufferBindingSize! >= 1 << 27)
      assert.equal(
        tables.map(({ title }) => title),
        ['bandwidth', 'overheads', 'passes, a tiny model', 'step, a tiny model'],
      )
      for (const { title, rows, meaningless } of tables) {
        assert.is(meaningless, true, title)
        assert.is(new Set(rows.map(({ name }) => name)).size, rows.length, `${title}: names`)
        for (const row of rows) {
          const where = `${title}: ${row.name}`
          assert.ok(row.ms > 0 && row.spread >= 0 && row.samples >= 5, where)
          assert.is(row.ratio === undefined, row.yardstick === undefined, where)
          assert.match(stdout, row.name)
        }
      }
      const named = (title: string) => tables.find((table) => table.title === title)!.rows
      for (const rank of [1, 4]) {
        for (const layout of LAYOUTS) {
          for (const pass of ['accumulateProject', 'backproject', 'settle', WHOLE]) {
            const name = passName(pass, rank, layout)
            const row = named('passes, a tiny model').find((row) => row.name === name)
            assert.ok(row!.ratio! > 0, name)
          }
          const wall = stepName(rank, layout, 'wall')
          const row = named('step, a tiny model').find(({ name }) => name === wall)
          assert.ok(row!.dispatches! > 0 && row!.readbacks! > 0, wall)
          // Both factors and the raw tensors leave the device, and their means come back.
          const { leftFloats, rightFloats, rawFloats, denseFloats } = createLayout(TINY.shapes, {
            rank,
          })
          for (const bytes of [row!.readBack!, row!.written!]) {
            assert.ok(bytes >= 4 * (leftFloats + rightFloats + rawFloats), wall)
            assert.ok(bytes < 4 * denseFloats, wall)
          }
        }
      }
      assert.equal(skipped, ['PyTorch on CUDA: --no-torch'])
      // Counts do not depend on the device.
      assert.equal(
        goals.map(({ what }) => what),
        ['dispatches', 'readbacks'].map((what) => `step, a tiny model, r = 4: ${what}`),
      )
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  bench('refuses what it does not know, and large models on a software adapter', () => {
    for (const [words, message] of [
      [['--nonsense'], /'--nonsense'/],
      [['nonsense'], /got nonsense/],
      [['--ranks', '0'], /--ranks: expected numbers of 1…64/],
      [['--chromium', 'chrome'], /--chromium: only with --browser/],
      [['--json', tmpdir()], /"--json": .* cannot be written: it is a folder/],
      [['--browser', 'gpt2'], /--browser takes matrices of its own/],
      [['gpt2', '--no-torch'], /GPT-2-124M: more than 1000000 parameters on a software adapter/],
    ] as [string[], RegExp][]) {
      const { status, stderr } = run(...words)
      assert.is(status, 1)
      assert.match(stderr, message)
      assert.not.match(stderr, /\n {4}at /) // a message, not a stack
    }
  })
}

const browser = await launch({ webgpu: true })
const inPage = suite('bench:gpu --browser')

if (typeof browser === 'string') inPage.skip(`in Chromium: ${browser}`)
else {
  await browser.close()
  // The benchmark skips missing parts as well, and says so.
  const tfjs = new URL('../../bench/peers/node_modules/@tensorflow/', import.meta.url)
  const peers = ['tfjs-webgpu', 'jax-js'].filter((peer) => peer === 'jax-js' || existsSync(tfjs))

  inPage(
    'in Chromium, on software: all products are right, and beside those of other libraries',
    () => {
      const folder = mkdtempSync(join(tmpdir(), 'lowrank-bench-gpu-'))
      const file = join(folder, 'browser.json')
      try {
        const { status, stdout, stderr } = run('--browser', '--tiny', '--json', file)
        assert.is(status, 0, stderr)
        const report = JSON.parse(readFileSync(file, 'utf8')) as GpuReport
        assert.match(report.browser!, /^chromium\/\d/)
        assert.is(report.adapter.software, true)
        assert.is(report.skipped.length, 2 - peers.length)
        assert.is(report.tables.length, 1)
        const [{ title, rows, meaningless }] = report.tables as [Table]
        assert.is(title, productsTitle({ rows: 33, cols: 70 }))
        assert.is(meaningless, true)
        assert.match(stdout, `${title} (on a software adapter: times are meaningless)`)
        const names = [1, 4].flatMap((rank) =>
          (['M·Q', 'Mᵀ·P', 'P·Qᵀ'] as const).flatMap((operation) =>
            (['wall', 'GPU'] as const).flatMap((kind) =>
              ['lowrank', ...peers].map((by) => productName(operation, rank, kind, by)),
            ),
          ),
        )
        assert.equal(
          rows.map(({ name }) => name),
          names,
        )
        for (const { name, ms, spread, samples, ratio } of rows) {
          assert.ok(ms > 0 && spread >= 0 && samples >= 5, name)
          assert.is(ratio !== undefined, name.includes('lowrank'), name)
        }
      } finally {
        rmSync(folder, { recursive: true })
      }
    },
  )

  if (!peers.includes('tfjs-webgpu')) {
    inPage.skip('beside TensorFlow.js, which is not installed: npm ci --prefix bench/peers')
  }

  inPage('a Chromium that is not there is an error', () => {
    const { status, stderr } = run('--browser', '--tiny', '--chromium', '/no/such/chromium')
    assert.is(status, 1)
    assert.match(stderr, '/no/such/chromium')
  })
}

inPage('what checks the products finds a wrong one', () => {
  const [rows, cols, rank] = [5, 7, 2]
  const factor = (length: number) => ({
    rows: new Float32Array(length * rank).fill(1),
    columns: new Float32Array(length * rank).fill(1),
  })
  const m = new Float32Array(rows * cols).fill(1)
  const checks = checksOf({ rows, cols, rank, m, p: factor(rows), q: factor(cols) })
  for (const [operation, length, value] of [
    ['M·Q', rows * rank, cols],
    ['Mᵀ·P', cols * rank, rows],
    ['P·Qᵀ', rows * cols, rank],
  ] as const) {
    const right = new Float32Array(length).fill(value)
    for (const byColumn of [true, false]) {
      checks[operation]('right', right, byColumn)
      const wrong = right.slice()
      wrong[length - 1]! += 1e-3
      assert.throws(() => checks[operation]('wrong', wrong, byColumn), /^wrong: element/)
    }
  }
})

bench('needs no packages but those that a machine with a GPU is given', async () => {
  const { metafile } = await build({
    entryPoints: [MAIN],
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    absWorkingDir: fileURLToPath(new URL('../..', import.meta.url)),
    write: false,
    metafile: true,
  })
  const [packages, files] = [new Set<string>(), new Set<string>(['bench/gpu/main.ts'])]
  for (const file of files) {
    for (const { path, external, kind } of metafile.inputs[file]!.imports) {
      if (kind !== 'import-statement') continue // loaded only on demand
      if (!external) files.add(path)
      else if (!path.startsWith('node:') && path.split('/')[0] !== 'lowrank') packages.add(path)
    }
  }
  assert.equal([...packages], ['tinybench'])
  assert.ok(files.has('bench/gpu/clock.ts') && !files.has('bench/gpu/browser/main.ts'))
  assert.ok('bench/gpu/browser/main.ts' in metafile.inputs, 'the browser is loaded when asked for')
})

bench('walls of steps are held against the faster of those that do as much in PyTorch', () => {
  const torch = [
    row(torchName(4, 'hook'), 9),
    row(torchName(4, 'authors, 1 half-step'), 1),
    row(torchName(4, 'authors, 2 half-steps'), 6),
  ]
  const steps = [row(stepName(4, 'arena', 'wall'), 2), row(stepName(4, 'arena', 'GPU'), 1)]
  const { rows } = stepTable('a model', steps, torch, [4], ['arena'])
  assert.equal(
    rows.flatMap(({ name, ratio }) => (ratio === undefined ? [] : [[name, ratio]])),
    [[stepName(4, 'arena', 'wall'), 2 / 6]],
  )
})

bench('passes are held against the copy, for as many bytes', () => {
  const copy = { ...row('copy', 2), bytes: 800 }
  const pass = { ...row('settle', 4), bytes: 1200 }
  const { rows } = passesTable('a model', copy, [pass, row('scale', 1)])
  assert.equal(
    rows.map(({ ratio }) => ratio),
    [undefined, 4 / 2 / (1200 / 800), undefined],
  )
})

const python = ['python3', '/usr/bin/python3'].find(
  (python) => spawnSync(python, ['-c', 'import torch']).status === 0,
)
if (!python) bench.skip('steps in PyTorch: neither python3 nor /usr/bin/python3 has torch')
else {
  bench('steps in PyTorch lose nothing, here on the processor', () => {
    const cases = [{ model: 'a model', shapes: [[16, 3, 3, 3], [16], [33, 70]], ranks: [1, 4] }]
    const { status, stdout, stderr } = spawnSync(python, [TORCH, '--device', 'cpu'], {
      input: JSON.stringify({ cases, seconds: 0.01 }),
      encoding: 'utf8',
    })
    assert.is(status, 0, stderr) // the script itself compares the parts with the whole
    const [head, ...steps] = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    assert.is(head.device, 'CPU')
    assert.equal(
      steps.map(({ rank, implementation }) => [rank, implementation]),
      [1, 4].flatMap((rank) =>
        ['hook', 'authors, 1 half-step', 'authors, 2 half-steps'].map((by) => [rank, by]),
      ),
    )
    for (const { wall } of steps) assert.ok(wall.length >= 5 && wall.every((ms: number) => ms > 0))
  })
}

bench('models have the sizes that are known of them', () => {
  assert.is(parametersOf(GPT2), 124_439_808)
  assert.is(parametersOf(TINYLLAMA), 1_100_048_384)
  assert.is(parametersOf(SMALL), 273_792)
})

bench.run()
inPage.run()

function run(...words: string[]) {
  return spawnSync(process.execPath, ['--import', 'tsx', MAIN, ...words], {
    encoding: 'utf8',
    env: { ...process.env, ...(software as object) },
  })
}

function row(name: string, ms: number): Row {
  return { name, ms, spread: ms / 100, samples: 9, bytes: 0, flops: 0 }
}
