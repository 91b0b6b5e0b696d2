// Makes a compressor: checks the options, opens the backend and loads a checkpoint if there is one.
import { powerSgd } from '../algorithms/powersgd.ts'
import { openHost, wasm } from '../backends/wasm/index.ts'
import { bytesOf } from '../bytes.ts'
import { UnsupportedError } from '../errors.ts'
import { decideRanks, layoutOf, rawLayoutOf, specsOf } from '../layout.ts'
import { type Options, ownOptionsOf, type ParameterSpec, settingsOf } from '../options.ts'
import { type Checkpoint, decodeCheckpoint } from './checkpoint.ts'
import { Compressor } from './compressor.ts'
import { Framing, hashConfig } from './framing.ts'
import { firstParent, WorkerState } from './worker-state.ts'

/**
 * Creates the compressor of one worker: PowerSGD with error feedback (Vogels, Karimireddy & Jaggi
 * 2019, arXiv 1905.13727, Algorithms 1 and 2), unless `options.method` says otherwise.
 *
 * It keeps a residual in the backend's memory, as large as the model (4 bytes per element), and the
 * factors.
 *
 * @param shapes  the shape of each parameter, or an object with its shape, name and options, in an
 *   order that all workers share. A tensor is compressed as a matrix, if that saves enough
 *   (`minCompressionRate`); vectors and scalars are not compressed. See `ParameterSpec`; `plan` says
 *   what becomes of each
 * @param options  see `Options`. Those of `SharedOptions` must be equal on all workers; the others
 *   belong to this one: `sender` must differ from worker to worker. Default: rank 4, float32 on the
 *   wire, sender 0, on the CPU
 * @throws TypeError, RangeError  naming the entry or option that is not valid
 * @throws UnsupportedError  if the host forbids compiling WebAssembly (a content security policy
 *   without 'wasm-unsafe-eval'), or if the backend lacks what an option needs
 */
export async function createCompressor(
  shapes: readonly ParameterSpec[],
  options: Options = {},
): Promise<Compressor> {
  const settings = settingsOf(options, powerSgd)
  const { sender, wire, resident } = ownOptionsOf(options)
  const { method } = settings
  const specs = specsOf(shapes, method.firstAxis)
  const {
    ranks = decideRanks(specs, settings, settings.rank),
    step = 0,
    loaded = { right: [], left: [], notes: {} },
    parent,
    weight = 1,
    residual,
  }: Partial<Checkpoint> = options.restore === undefined
    ? {}
    : decodeCheckpoint(options.restore, specs, settings)
  const layout = layoutOf(specs, ranks)

  const host = await openHost(settings.seed, options.random)
  const arranged = method.ownsFactors ? rawLayoutOf(specs, ranks) : layout
  // Before the factors are drawn, for it refuses a model that is too large by arithmetic.
  const session = await (options.backend ?? wasm()).open(arranged, { resident })
  try {
    if (settings.orthonormalize === 'device' && !session.orthonormalize) {
      throw new UnsupportedError(
        '"orthonormalize": \'device\' is for the backend webgpu(), and this one has none',
      )
    }
    const algorithm = await method.create({ host, specs, layout, settings, loaded, step })
    if (residual) session.write('residual', bytesOf(residual))
    const workerState = new WorkerState({
      specs,
      settings,
      session,
      host,
      framing: new Framing(hashConfig(specs, settings), sender, wire),
      algorithm,
      layout,
      step,
      parent: parent ?? firstParent(algorithm.shared),
      weight,
      saved: residual ? step : null,
    })
    return new Compressor(workerState)
  } catch (error) {
    session.dispose()
    throw error
  }
}
