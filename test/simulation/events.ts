// Events between two steps: workers join and leave, ranks change, states are saved and restored.
import { mergeCheckpoints } from '../../src/index.ts'
import { sameBytes, within } from '../support/close.ts'
import { readState } from '../support/safetensors.ts'
import { FROZEN, ranksFor, rounded } from './expected-layout.ts'
import { dataOf, type Fleet } from './fleet.ts'
import { Ledger } from './ledger.ts'
import type { Member } from './member.ts'
import type { Event } from './scenario.ts'

/** Applies an event to a fleet whose members are all between the same two steps. */
export async function applyEvent(fleet: Fleet, event: Event): Promise<void> {
  const first = fleet.members[0]!
  switch (event.kind) {
    case 'none':
      return
    case 'restore':
      for (const member of fleet.members) await restore(fleet, member)
      break
    case 'join': {
      if (fleet.members.length === 8) return
      const state = await first.compressor.save({ residual: false })
      if (fleet.chance() < 0.5) await fleet.enlist(state)
      else {
        const member = await fleet.enlist()
        member.compressor.join(state)
        member.at = fleet.step
      }
      break
    }
    case 'leave':
      await leave(fleet)
      break
    case 'merge':
      await merge(fleet, event.workers)
      break
    case 'rescale':
      for (const { compressor, ledger } of fleet.members) {
        await compressor.rescaleResidual(event.factor)
        ledger.rescale(event.factor)
      }
      break
    case 'setRank': {
      const { rank } = event
      const count = fleet.table.length
      fleet.wanted = typeof rank === 'object' ? rank.slice(0, count) : rank
      const ranks = ranksFor(fleet.table, fleet.wanted, fleet.scenario.shared)
      for (const { compressor, ledger } of fleet.members) {
        compressor.setRank(fleet.wanted)
        for (const [i, one] of ranks.entries()) if (one === FROZEN) ledger.drop(i)
      }
    }
  }
  for (const member of fleet.members) await member.audit()
  await fleet.agreed()
}

async function restore(fleet: Fleet, member: Member): Promise<void> {
  const state = await member.compressor.save()
  member.replace(await fleet.create(member.sender, member.wire, state))
  const restored = await member.compressor.save()
  // A residual of zeros that was rescaled by a negative factor is −0; that of a frozen parameter is 0.
  const { ranks } = member.compressor.stats
  const signless = (file: Uint8Array) =>
    ranks.includes('frozen') ? withoutNegativeZeros(file) : file
  sameBytes(signless(restored), signless(state), 'a state that was restored')
}

/** The data of a checkpoint begin at a multiple of 8, and a header has no bytes above 127. */
function withoutNegativeZeros(file: Uint8Array): Uint8Array {
  const words = new Uint32Array(file.slice().buffer)
  return new Uint8Array(words.map((word) => (word === 0x80000000 ? 0 : word)).buffer)
}

async function leave(fleet: Fleet): Promise<void> {
  if (fleet.members.length === 1) return
  const at = 1 + Math.floor(fleet.chance() * (fleet.members.length - 1))
  const [leaver] = fleet.members.splice(at, 1) as [Member]
  // At extreme ratios of weights, an adopted residual may leave the range of float32.
  if (fleet.scenario.weighing !== 'extreme') {
    const heir = fleet.members[Math.floor(fleet.chance() * fleet.members.length)]!
    const state = await leaver.compressor.save()
    const weight = async (m: Member) => Number(readState(await m.compressor.save()).metadata.weight)
    const factor = (await weight(leaver)) / (await weight(heir))
    await heir.compressor.adopt(state)
    heir.ledger.adopt(leaver.ledger.residual, factor)
  }
  leaver.compressor.dispose()
}

async function merge(fleet: Fleet, workers: number): Promise<void> {
  const states = await Promise.all(fleet.members.map(({ compressor }) => compressor.save()))
  const merged = mergeCheckpoints(states)
  const files = states.map(readState)
  const weights = files.map(({ metadata }) => Number(metadata.weight))
  const total = weights.reduce((a, b) => a + b, 0)
  const residual = fleet.table.map(({ length }, i) => {
    const name = `residual/${i}`
    const mean = (of: (x: number) => number) =>
      Float64Array.from({ length }, (_, j) =>
        files.reduce((sum, file, k) => sum + (weights[k]! / total) * of(dataOf(file, name)[j]!), 0),
      )
    const got = dataOf(readState(merged), name)
    const sizes = mean(Math.abs)
    within(got, mean(Number), (j) => rounded(1, sizes[j]!), 'a merged residual')
    return got
  })
  for (const { compressor } of fleet.members) compressor.dispose()
  fleet.members = []
  for (let i = 0; i < workers; i++) {
    const member = await fleet.enlist(merged)
    member.ledger = new Ledger(fleet.table, residual)
  }
}
