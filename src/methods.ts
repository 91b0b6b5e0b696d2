// lowrank/methods: PowerSGD's family, and what other programs make of it, for
// `createCompressor(shapes, { method })`.
export {
  type AccordionOptions,
  type AccordionRule,
  accordion,
  accordionDecision,
} from './algorithms/accordion.ts'
export { dion } from './algorithms/dion.ts'
export { byEnergy, type EnergyOptions, energyDecision } from './algorithms/energy.ts'
export { halfSteps } from './algorithms/halfsteps.ts'
export { paper } from './algorithms/paper.ts'
export { pytorch } from './algorithms/pytorch.ts'
export { reference } from './algorithms/reference.ts'
