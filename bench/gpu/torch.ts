// PyTorch on CUDA, where python3 has it: steps of the hook and of the authors' algorithm.
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { byEffort, type Settings } from '../effort.ts'
import { statistics } from '../measure.ts'
import type { Model } from '../models.ts'
import type { Row } from '../results.ts'
import { IMPLEMENTATIONS, pythonWithTorch } from '../torch.ts'

const SCRIPT = fileURLToPath(new URL('./torch_cuda.py', import.meta.url))

type Implementation = keyof typeof IMPLEMENTATIONS

type Line =
  | { readonly unavailable: string }
  | { readonly torch: string; readonly device: string }
  | ({ readonly model: string; readonly rank: number; readonly implementation: Implementation } & (
      | { readonly wall: readonly number[]; readonly gpu: readonly number[] }
      | { readonly failed: string }
    ))

/** Rows by the names of models. */
export type TorchRows = ReadonlyMap<string, readonly Row[]>

export function torchName(rank: number, implementation: Implementation): string {
  return `${IMPLEMENTATIONS[implementation]}, r = ${rank}: wall`
}

/** The implementations that do all of the work of a step. */
export function fullSteps(rank: number): string[] {
  return [torchName(rank, 'hook'), torchName(rank, 'authors, 2 half-steps')]
}

/**
 * @param started  gets the process, so that the caller can end it
 * @throws Unavailable, Error
 */
export async function measureTorch(
  models: readonly Model[],
  ranks: readonly number[],
  settings: Settings,
  progress: (what: string) => void,
  skip: (why: string) => void,
  started: (child: { kill(): boolean }) => void,
): Promise<TorchRows> {
  const child: ChildProcessByStdio<Writable, Readable, null> = spawn(pythonWithTorch(), [SCRIPT], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  started(child)
  const ended = once(child, 'close')
  const cases = models.map(({ name, shapes }) => ({ model: name, shapes, ranks }))
  child.stdin.end(JSON.stringify({ cases, seconds: byEffort(settings, 1, 0.5, 0.01) }))

  const rows = new Map<string, Row[]>(models.map(({ name }) => [name, []]))
  let by = ''
  for await (const text of createInterface({ input: child.stdout })) {
    const line = JSON.parse(text) as Line
    if ('unavailable' in line) skip(`PyTorch on CUDA: ${line.unavailable}`)
    else if ('torch' in line) by = `torch ${line.torch}, ${line.device}`
    else {
      const name = torchName(line.rank, line.implementation)
      progress(`${line.model}: ${name}`)
      if ('failed' in line) skip(`${line.model}: ${name}: ${line.failed}`)
      else rows.get(line.model)!.push(rowOf(name, line.wall, line.gpu, by))
    }
  }
  const [code] = (await ended) as [number | null]
  if (code !== 0) throw new Error(`${SCRIPT} ended with ${code}`)
  return rows
}

function rowOf(name: string, wall: readonly number[], gpu: readonly number[], by: string): Row {
  const ms = Number(statistics(gpu).ms.toPrecision(3))
  return {
    name,
    ...statistics(wall),
    bytes: 0,
    flops: 0,
    note: `${by}; ${ms} ms from event to event`,
  }
}
