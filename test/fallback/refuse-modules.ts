// To be imported before a program: WebAssembly modules cannot be compiled at once any more, as in
// browsers that refuse large ones on their main thread, or where a policy refuses all.
class Refused {
  constructor() {
    throw new RangeError('WebAssembly.Compile is disallowed on the main thread')
  }
}

const { exports, imports, customSections } = WebAssembly.Module
Object.assign(Refused, { exports, imports, customSections })
Object.defineProperty(WebAssembly, 'Module', { value: Refused })
