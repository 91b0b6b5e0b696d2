// All experiments, in the order of the page.
import type { Experiment } from './experiment.ts'

/**
 * Experiments by name. They are loaded when needed: each worker thread loads only those it runs.
 */
export const EXPERIMENTS: Readonly<Record<string, () => Promise<Experiment>>> = {
  bytes: async () => (await import('./bytes/index.ts')).bytes,
  quality: async () => (await import('./quality/index.ts')).quality,
  accordion: async () => (await import('./accordion/index.ts')).accordion,
  gossip: async () => (await import('./gossip/index.ts')).gossip,
  pays: async () => (await import('./pays/index.ts')).pays,
}
