// The papers' printed figures about bytes, each with the model and the method it belongs to.
import type { ModelName } from './shapes.ts'
import type { Way } from './ways.ts'

/** A figure as it is printed, and how it follows from the floats that a worker sends in a step. */
export interface Printed {
  readonly row: string
  readonly model: ModelName
  readonly way: Way
  readonly printed: string
  readonly unit: Unit
}

/**
 * The unit of a printed figure:
 *
 * MiB: float32 in an epoch of so many steps (papers write MB)
 * ×: how many times fewer floats than the whole gradient
 * million floats: those in all the steps of a training
 */
export type Unit =
  | { readonly kind: 'MiB'; readonly steps: number }
  | { readonly kind: '×' }
  | { readonly kind: 'million floats'; readonly steps: number }

export interface Source {
  readonly name: string
  readonly claim: string
  readonly about: string
  readonly figures: readonly Printed[]
  /** Figures in print are cut off after the last digit, not rounded. */
  readonly cut?: true
}

// Steps in an epoch. ResNet-18: 16 workers take 128 images each of 50,000, and the remaining images
// are left out. LSTM: the paper's own count.
const RESNET18 = { model: 'ResNet-18', unit: { kind: 'MiB', steps: 24 } } as const
const LSTM = { model: 'LSTM', unit: { kind: 'MiB', steps: 70 } } as const
// 8 workers take 128 images each; the remaining images make one more step.
const RING = { model: 'ResNet20', unit: { kind: 'MiB', steps: 49 } } as const
// 300 epochs of 4 workers with 128 images each.
const ALL: Unit = { kind: 'million floats', steps: 300 * 98 }
const TIMES: Unit = { kind: '×' }

const SGD: Way = { name: 'whole' }
const rank = (rank: number): Way => ({ name: 'rank', rank })

export const SOURCES: readonly Source[] = [
  {
    name: 'PowerSGD, Table 3',
    claim: 'Data sent per epoch, and how many times fewer, at ranks 1, 2 and 4 of both models',
    about: 'An epoch has 24 steps (16 workers × 128 images), of the language model 70.',
    figures: [
      { ...RESNET18, row: 'SGD', way: SGD, printed: '1023' },
      ...[
        { r: 1, printed: '4', times: '243' },
        { r: 2, printed: '8', times: '136' },
        { r: 4, printed: '14', times: '72' },
      ].flatMap(({ r, printed, times }) => [
        { ...RESNET18, row: `Rank ${r}`, way: rank(r), printed },
        { ...RESNET18, row: `Rank ${r}`, way: rank(r), printed: times, unit: TIMES },
      ]),
      { ...LSTM, row: 'SGD', way: SGD, printed: '7730' },
      ...[
        { r: 1, printed: '25', times: '310' },
        { r: 2, printed: '38', times: '203' },
        { r: 4, printed: '64', times: '120' },
      ].flatMap(({ r, printed, times }) => [
        { ...LSTM, row: `Rank ${r}`, way: rank(r), printed },
        { ...LSTM, row: `Rank ${r}`, way: rank(r), printed: times, unit: TIMES },
      ]),
    ],
  },
  {
    name: 'PowerSGD, Table 4',
    claim: 'Data sent per epoch by other compressors, at two budgets',
    about:
      'Top K sends 1/32 and 1/136, an index with each value; the program’s list of parameters has the two the\n' +
      'other way round.',
    figures: [
      { ...RESNET18, row: 'No compression', way: SGD, printed: '1023' },
      { ...RESNET18, row: 'Rank 7', way: rank(7), printed: '24' },
      { ...RESNET18, row: 'Random Block', way: { name: 'random block', rank: 7 }, printed: '24' },
      { ...RESNET18, row: 'Random K', way: { name: 'random k', rank: 7 }, printed: '24' },
      { ...RESNET18, row: 'Sign + Norm', way: { name: 'sign + norm' }, printed: '32' },
      { ...RESNET18, row: 'Top K', way: { name: 'top k', part: 32 }, printed: '32' },
      { ...RESNET18, row: 'Rank 2', way: rank(2), printed: '8' },
      { ...RESNET18, row: 'Random Block', way: { name: 'random block', rank: 2 }, printed: '8' },
      { ...RESNET18, row: 'Random K', way: { name: 'random k', rank: 2 }, printed: '8' },
      { ...RESNET18, row: 'Top K', way: { name: 'top k', part: 136 }, printed: '8' },
    ],
  },
  {
    name: 'PowerSGD, Tables 1, 6 and 7',
    claim: 'Data sent per epoch by unbiased low rank, Spectral Atomo and Signum',
    about:
      'These printed figures are quoted from memory, not from a copy of the paper. Unbiased rank r sends one\n' +
      'factor a step, in turn. The library has neither Atomo nor Signum; Atomo is counted as rank-2 decompositions,\n' +
      'each with its singular values, of matrices shaped as in the paper’s program, Signum as one bit an entry.',
    figures: [
      { ...RESNET18, row: 'Unbiased rank 1', way: { name: 'half-steps', rank: 1 }, printed: '3' },
      { ...RESNET18, row: 'Unbiased rank 2', way: { name: 'half-steps', rank: 2 }, printed: '4' },
      { ...RESNET18, row: 'Atomo', way: { name: 'atomo', rank: 2 }, printed: '113' },
      { ...RESNET18, row: 'Signum', way: { name: 'bits', bits: 1 }, printed: '32' },
      { ...LSTM, row: 'Signum', way: { name: 'bits', bits: 1 }, printed: '242' },
    ],
  },
  {
    name: 'PowerGossip, poster',
    claim: 'Data sent per epoch by each of eight workers in a ring',
    about: '49 steps (8 workers × 128 images, the last step with fewer), two neighbours.',
    figures: [
      { ...RING, row: 'Uncompressed', way: { name: 'gossip' }, printed: '102' },
      { ...RING, row: 'Sign + norm', way: { name: 'gossip, signs' }, printed: '3.2' },
      { ...RING, row: 'Moniqua, 2 bits', way: { name: 'Moniqua' }, printed: '6.4' },
      { ...RING, row: 'PowerGossip', way: { name: 'PowerGossip', iterations: 1 }, printed: '1.8' },
      {
        ...RING,
        row: 'PowerGossip, 2 iterations',
        way: { name: 'PowerGossip', iterations: 2 },
        printed: '3.0',
      },
    ],
  },
  {
    name: 'PowerGossip, poster, ratios',
    claim: '57 and 34 times fewer bytes with one and two iterations',
    about: 'The printed ratios are those of the rounded megabytes, 102 ÷ 1.8 and 102 ÷ 3.0.',
    figures: [
      {
        ...RING,
        row: 'PowerGossip',
        way: { name: 'PowerGossip', iterations: 1 },
        printed: '57',
        unit: TIMES,
      },
      {
        ...RING,
        row: 'PowerGossip, 2 iterations',
        way: { name: 'PowerGossip', iterations: 2 },
        printed: '34',
        unit: TIMES,
      },
    ],
  },
  {
    name: 'PowerGossip, poster, caption',
    claim: 'The 102 MB are of a ring of 16 workers',
    about: 'With 16 workers an epoch has 25 steps; the authors’ configurations say 8.',
    figures: [
      {
        ...RING,
        row: 'Uncompressed',
        way: { name: 'gossip' },
        printed: '102',
        unit: { kind: 'MiB', steps: 25 },
      },
    ],
  },
  {
    name: 'Accordion, fixed ranks',
    claim: 'Millions of floats that a worker sends in 300 epochs at a fixed rank',
    about:
      '98 steps an epoch (4 workers × 128 images). Its tables cut figures off after the last digit.',
    cut: true,
    figures: [
      ...[
        { model: 'ResNet-18', r: 1, printed: '1350.4' },
        { model: 'ResNet-18', r: 2, printed: '2418.4' },
        { model: 'ResNet-18, CIFAR-100', r: 1, printed: '1355.7' },
        { model: 'ResNet-18, CIFAR-100', r: 2, printed: '2426.3' },
        { model: 'VGG-19', r: 1, printed: '2074.9' },
        { model: 'VGG-19', r: 4, printed: '6752.0' },
      ].map(({ model, r, printed }) => ({
        model: model as ModelName,
        row: `Rank ${r}`,
        way: rank(r),
        printed,
        unit: ALL,
      })),
    ],
  },
]
