// `createCompressor`: puts together what one worker's compressor is made of.
import { powerSgd } from '../algorithms/powersgd.ts'
import { openHost, wasm } from '../backends/wasm/index.ts'
import { bytesOf } from '../bytes.ts'
import { UnsupportedError } from '../errors.ts'
import { layoutOf, rawLayoutOf, specsOf } from '../layout.ts'
import { type Options, ownOptionsOf, type ParameterSpec, settingsOf } from '../options.ts'
import { decodeCheckpoint } from './checkpoint.ts'
import { Compressor } from './compressor.ts'
import { Framing, hashConfig } from './framing.ts'
import { firstParent, WorkerState } from './worker-state.ts'

/**
 * Creates one worker's compressor.
 *
 * @param shapes  one entry per parameter, in an order that all workers share
 * @param options  see `Options`; what all must share is hashed into every frame
 * @throws TypeError, RangeError  naming the entry or option at fault
 * @throws UnsupportedError  if this host does not let WebAssembly be compiled
 */
export async function createCompressor(
  shapes: readonly ParameterSpec[],
  options: Options = {},
): Promise<Compressor> {
  const settings = settingsOf(options, powerSgd)
  const { sender, wire, resident } = ownOptionsOf(options)
  const specs = specsOf(shapes)
  const saved = options.restore && decodeCheckpoint(options.restore, specs, settings)
  const { method } = settings
  const layout = layoutOf(specs, saved?.ranks ?? method.ranks(specs, settings, settings.rank))
  const step = saved?.step ?? 0

  const host = await openHost(settings.seed, options.random)
  const loaded = saved?.loaded ?? { right: [], left: [], notes: {} }
  const algorithm = await method.create({ host, specs, layout, settings, loaded, step })
  const arranged = method.ownsFactors ? rawLayoutOf(specs) : layout
  const session = await (options.backend ?? wasm()).open(arranged, { resident })
  if (settings.orthonormalize === 'device' && !session.orthonormalize) {
    session.dispose()
    throw new UnsupportedError(
      '"orthonormalize": \'device\' is for the backend webgpu(), and this one has none',
    )
  }
  if (saved?.residual) session.write('residual', bytesOf(saved.residual))
  const state = new WorkerState({
    specs,
    settings,
    session,
    host,
    framing: new Framing(hashConfig(specs, settings), sender, wire),
    algorithm,
    layout,
    step,
    parent: saved?.parent ?? firstParent(algorithm.shared),
    weight: saved?.weight ?? 1,
    saved: saved?.residual ? step : null,
  })
  return new Compressor(state)
}
