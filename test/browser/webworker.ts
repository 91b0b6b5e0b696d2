// Runs in a web worker: posts the golden hashes.
import { golden } from '../built/golden.ts'

golden().then(postMessage)
