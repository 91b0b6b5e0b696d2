// The list of sections, and the messages from a section's process to its parent.
import type { Table } from './results.ts'
import type { Section } from './section.ts'

export type Message =
  | { readonly progress: string }
  | { readonly table: Table }
  | { readonly skip: string }
  | { readonly failed: string }

interface Entry {
  readonly about: string
  /** cores that it may use */
  readonly cores: number
  readonly load: () => Promise<Section>
}

export const SECTIONS: Readonly<Record<string, Entry>> = {
  kernels: {
    about: 'every kernel by itself, against streams and C',
    cores: 1,
    load: async () => (await import('./kernels.ts')).kernels,
  },
  step: {
    about: 'whole steps of one worker, against a stream',
    cores: 1,
    load: async () => (await import('./step.ts')).step,
  },
  threads: {
    about: 'whole steps on two threads, against one',
    cores: 2,
    load: async () => (await import('./step.ts')).threads,
  },
  methods: {
    about: 'whole steps with each method, against full steps',
    cores: 1,
    load: async () => (await import('./methods.ts')).methods,
  },
  gossip: {
    about: 'iterations of gossip with each method, against full steps',
    cores: 1,
    load: async () => (await import('./gossip.ts')).gossip,
  },
  aggregate: {
    about: 'the mean of four frames, against memcpy',
    cores: 1,
    load: async () => (await import('./aggregate.ts')).aggregates,
  },
  codec: {
    about: 'wire types, checksum, slices, against memcpy',
    cores: 1,
    load: async () => (await import('./codec.ts')).codec,
  },
  peers: {
    about: 'matrix products of other libraries for JavaScript',
    cores: 1,
    load: async () => (await import('./peers.ts')).peers,
  },
  torch: {
    about: 'steps of PyTorch’s hook and of the authors’ algorithm',
    cores: 1,
    load: async () => (await import('./torch.ts')).torch,
  },
}
