// `createCompressor`: puts together what one worker's compressor is made of.
import { powerSgd } from '../algorithms/powersgd.ts'
import { openHost, wasm } from '../backends/wasm/index.ts'
import { bytesOf } from '../bytes.ts'
import { UnsupportedError } from '../errors.ts'
import { layout, layoutRaw, specsOf } from '../layout.ts'
import { localOf, type Options, type ParameterSpec, settingsOf } from '../options.ts'
import { decodeState } from './checkpoint.ts'
import { Compressor } from './compressor.ts'
import { configHash, Framing } from './framing.ts'
import { firstParent, Standing } from './worker-state.ts'

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
  const { sender, wire, resident } = localOf(options)
  const specs = specsOf(shapes)
  const state = options.restore && decodeState(options.restore, specs, settings)
  const { method } = settings
  const plan = layout(specs, state?.ranks ?? method.ranks(specs, settings, settings.rank))
  const step = state?.step ?? 0

  const host = await openHost(settings.seed, options.random)
  const loaded = state?.loaded ?? { right: [], left: [], notes: {} }
  const algorithm = await method.create({ host, specs, plan, settings, loaded, step })
  const arranged = method.whole ? layoutRaw(specs) : plan
  const session = await (options.backend ?? wasm()).open(arranged, { resident })
  if (settings.orthonormalize === 'device' && !session.orthonormalize) {
    session.dispose()
    throw new UnsupportedError(
      '"orthonormalize": \'device\' is for the backend webgpu(), and this one has none',
    )
  }
  if (state?.residual) session.write('residual', bytesOf(state.residual))
  const standing = new Standing({
    specs,
    settings,
    session,
    host,
    framing: new Framing(configHash(specs, settings), sender, wire),
    algorithm,
    plan,
    step,
    parent: state?.parent ?? firstParent(algorithm.kept),
    weight: state?.weight ?? 1,
    saved: state?.residual ? step : null,
  })
  return new Compressor(standing)
}
