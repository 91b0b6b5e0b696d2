// lowrank/methods: relatives of PowerSGD, and PowerSGD exactly as other programs compute it, for
// `createCompressor(shapes, { method })`.
export {
  type AccordionOptions,
  type AccordionRule,
  accordion,
  accordionDecision,
} from './algorithms/accordion.ts'
export { epfml } from './algorithms/compat/epfml.ts'
export { paper } from './algorithms/compat/paper.ts'
export { pytorch } from './algorithms/compat/pytorch.ts'
export { dion } from './algorithms/dion.ts'
export { byEnergy, type EnergyOptions, energyDecision } from './algorithms/energy.ts'
export { halfSteps } from './algorithms/half-steps.ts'
