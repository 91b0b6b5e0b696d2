// Quality's part of the page.
import type { Part } from '../experiment.ts'
import { bytes, count, table } from '../markdown.ts'
import { show, spreadOf } from '../spread.ts'
import { ABOUT } from '../tasks.ts'
import type { Task, Trained } from '../training.ts'
import { againstBytes, overSteps } from './charts.ts'
import { claimsOf } from './claims.ts'
import type { Cell, Search } from './contestants.ts'
import { type Find, lossOf, type Outcome } from './found.ts'

export function report(searches: readonly Search[], cells: readonly Cell[], find: Find): Part {
  const outcomes = cells.map((cell) => outcomeOf(cell, find))
  const usual = outcomes.filter(({ longer }) => !longer)
  const tasks = [...new Set(usual.map(({ task }) => task))]
  const charts: Record<string, string> = {}
  const sections = tasks.map((task) => {
    const own = usual.filter((outcome) => outcome.task === task)
    const { title } = ABOUT[task.name]
    charts[`quality-${task.name}-steps.svg`] = overSteps(task, own)
    charts[`quality-${task.name}-bytes.svg`] = againstBytes(task, own, 4)
    return [
      `### ${title[0]!.toUpperCase()}${title.slice(1)}`,
      describe(task),
      tableOf(own),
      rates(
        searches.filter((search) => search.task.name === task.name),
        own,
        find,
      ),
      `![${title}: loss over steps, 4 workers](quality-${task.name}-steps.svg)`,
      `![${title}: loss at the end against bytes](quality-${task.name}-bytes.svg)`,
    ].join('\n\n')
  })
  const longer = outcomes.filter((outcome) => outcome.longer)
  if (longer.length > 0) {
    const [{ task }] = longer as [Outcome]
    charts['quality-longer.svg'] = overSteps(task, longer)
    sections.push(lastingOf(longer, usual))
  }
  return {
    markdown: [introduction(outcomes), ...sections].join('\n\n'),
    charts,
    claims: claimsOf(outcomes, searches, find),
    figures: outcomes.map(({ task, trained, losses, loss: _, ...others }) => ({
      task: task.name,
      steps: task.steps,
      ...others,
      losses: losses.map((loss) => (Number.isFinite(loss) ? loss : null)),
      trainLosses: trained.map(({ trainLoss }) => trainLoss),
    })),
  }
}

function outcomeOf(
  { task, longer, workers, contestant, learningRate, trainings }: Cell,
  find: Find,
): Outcome {
  const trained = trainings.map((training) => find(training)!)
  const losses = trained.map(lossOf)
  const mean = (of: (one: Trained) => number) => spreadOf(trained.map(of)).mean
  return {
    task,
    longer,
    workers,
    name: contestant.name,
    learningRate: learningRate!,
    trained,
    losses,
    loss: spreadOf(losses),
    accuracy: spreadOf(trained.map(({ last }) => last?.accuracy ?? 0)),
    sentBytes: mean(({ sentBytes }) => sentBytes),
    receivedBytes: mean(({ receivedBytes }) => receivedBytes),
  }
}

function introduction(outcomes: readonly Outcome[]): string {
  const trained = outcomes.flatMap((outcome) => outcome.trained)
  const compared = trained.reduce((sum, one) => sum + one.compared, 0)
  const planned = trained.every(
    (one) => one.sentBytes === one.plannedSent && one.receivedBytes === one.plannedReceived,
  )
  return `Each worker has a compressor, and every frame is encoded, aggregated and decoded. Bytes are those of
frames and means, headers included${planned ? ', and what `plan` says they are, to the byte' : '; not all are what `plan` says'}. Workers are
simulated one after another; the batch is divided among them, so a step's gradient does not depend on how many they are.
At ${count(compared)} steps all workers' updates were compared, and had the same bits. The optimiser is the paper's, SGD with
momentum 0.9 (\`createSgd\`); seeds are of first parameters, order of data and compressors. The learning rate of each was
looked for on the first seed, with 4 workers; f16, int8 and four iterations have that of rank 2. *Random block* and *random K* send as
many floats as rank 2, *top K* as many floats and indices; the best approximation of each worker's matrices (\`bestRank\`) takes
ten times as long as training itself, and four iterations a step stand for it.`
}

function describe(task: Task): string {
  const { steps, warmUp, decays } = task
  const schedule = `${count(steps)} steps; the learning rate rises for ${warmUp} and is divided by ten after ${decays.join(' and ')}`
  if (task.name === 'text') {
    return `Characters of Tiny Shakespeare (${task.symbols} different ones; trained on the first 90 %, tested on the last 10 %):
embedding of ${task.embedding}, one LSTM layer of ${task.hidden}; ${task.streams} streams of ${task.length} characters a step, ${schedule}. Of the two texts at
hand this is the one that is whole: of WikiText-2, which the paper has, the training part is not.`
  }
  return `8,068 training and 1,017 test images of CIFAR-10 (so not "CIFAR-10"): convolutions of 5 × 5 and twice 3 × 3 with stride 2 to
${task.channels.join(', ')} channels, dense layers of ${task.hidden} and 10; batches of ${task.batch}, mirrored and moved by up to 2 pixels, ${schedule}.
Judged by the loss, for which 1,017 images are enough to tell more; one percent of right answers is ten images.`
}

function tableOf(outcomes: readonly Outcome[]): string {
  const names = [...new Set(outcomes.map(({ name }) => name))]
  const numbers = [...new Set(outcomes.map(({ workers }) => workers))]
  const dense = outcomes.find(({ name }) => name === 'uncompressed')!
  const head = [
    '',
    ...numbers.map((workers) => `loss, ${workers} workers`),
    'right answers',
    'sent a step',
    'times fewer',
    ...numbers.map((workers) => `received, ${workers} workers`),
  ]
  const rows = names.map((name) => {
    const own = numbers.map((workers) =>
      outcomes.find((outcome) => outcome.name === name && outcome.workers === workers),
    )
    const first = own.find((outcome) => outcome !== undefined)!
    return [
      name,
      ...own.map((outcome) => (outcome ? show(outcome.loss, 3) : '')),
      `${(100 * first.accuracy.mean).toFixed(1)} %`,
      bytes(first.sentBytes),
      (dense.sentBytes / first.sentBytes).toFixed(1),
      ...own.map((outcome) => (outcome ? bytes(outcome.receivedBytes) : '')),
    ]
  })
  return table(head, rows)
}

/** The table of the learning rates that the grids found. */
function rates(searches: readonly Search[], outcomes: readonly Outcome[], find: Find): string {
  const all = searches.flatMap(({ trainings }) => trainings.map((one) => one.learningRate))
  const tried = [...new Set(all)].sort((a, b) => a - b)
  if (tried.length === 1) return `The learning rate is ${tried[0]} for all: nothing was tuned.`
  const rows = searches.map(({ contestant: { name }, trainings }) => {
    const taken = outcomes.find((outcome) => outcome.name === name)!.learningRate
    const losses = tried.map((rate) => {
      const training = trainings.find(({ learningRate }) => learningRate === rate)
      if (!training) return ''
      const loss = lossOf(find(training)!)
      const shown = Number.isFinite(loss) ? loss.toFixed(3) : 'diverged'
      return rate === taken ? `**${shown}**` : shown
    })
    return [name, ...losses]
  })
  return table(['learning rate, first seed', ...tried.map(String)], rows)
}

/** Says whether the loss that compression costs passes in a longer training. */
function lastingOf(longer: readonly Outcome[], usual: readonly Outcome[]): string {
  const [{ task, workers }] = longer as [Outcome]
  const { title } = ABOUT[task.name]
  const shorter = usual.filter((one) => one.task.name === task.name && one.workers === workers)
  const [{ task: short }] = shorter as [Outcome]
  const behind = (one: Outcome, among: readonly Outcome[]) => {
    const dense = among.find(({ name }) => name === 'uncompressed')!
    return one === dense ? '' : signed(one.loss.mean - dense.loss.mean)
  }
  const rows = longer.map((one) => {
    const before = shorter.find(({ name }) => name === one.name)!
    return [
      one.name,
      show(before.loss, 3),
      behind(before, shorter),
      show(one.loss, 3),
      behind(one, longer),
      `${(100 * one.accuracy.mean).toFixed(1)} %`,
    ]
  })
  const head = [
    '',
    `${count(short.steps)} steps`,
    'behind uncompressed',
    `${count(task.steps)} steps`,
    'behind uncompressed',
    'right answers',
  ]
  return [
    `### The same, for ${task.steps / short.steps} times as many steps`,
    `The ${title}, with ${workers} workers and the learning rates found with ${count(short.steps)} steps: is what compression costs lost,
or only late? Error feedback holds back what was not sent yet, which weighs the more the shorter a training is.`,
    table(head, rows),
    `![${title}, ${count(task.steps)} steps: loss over steps](quality-longer.svg)`,
  ].join('\n\n')
}

function signed(difference: number): string {
  return `${difference < 0 ? '−' : '+'}${Math.abs(difference).toFixed(3)}`
}
