// ln 2 as a sum of two float64. The product of the first with a small integer is exact.
const LN2_HIGH: f64 = 0.6931471803691238
const LN2_LOW: f64 = 1.9082149292705877e-10

const TWO_TO_MINUS_32: f64 = 2.3283064365386963e-10

/**
 * The standard normal quantile at u = (x + ½)·2⁻³²: Wichura, "Algorithm AS 241" (1988), PPND16,
 * accurate to 1e-16. It uses only + − × ÷ and sqrt, which all engines round alike. As u is at least
 * 2⁻³³ away from 0 and 1, no value exceeds 6.4 in magnitude, and the routine's far tail is never
 * needed.
 */
export function quantile(x: u32): f64 {
  const q = (<f64>x + 0.5) * TWO_TO_MINUS_32 - 0.5
  if (Math.abs(q) <= 0.425) {
    const r = 0.180625 - q * q
    const above =
      ((((((2509.0809287301227 * r + 33430.57558358813) * r +
        67265.7709270087) * r +
        45921.95393154987) * r +
        13731.69376550946) * r +
        1971.5909503065513) * r +
        133.14166789178438) * r +
        3.3871328727963665
    const below =
      ((((((5226.495278852854 * r + 28729.085735721943) * r +
        39307.89580009271) * r +
        21213.794301586597) * r +
        5394.196021424751) * r +
        687.1870074920579) * r +
        42.31333070160091) * r +
        1
    return (q * above) / below
  }
  const negative = x < 0x80000000
  // The smaller of u and 1 − u is (2·tail + 1)·2⁻³³.
  const tail = negative ? x : ~x
  const t = Math.sqrt(33 * LN2_HIGH - logarithm(2 * tail + 1) + 33 * LN2_LOW) - 1.6
  const above =
    ((((((0.0007745450142783414 * t + 0.022723844989269184) * t +
      0.2417807251774506) * t +
      1.2704582524523684) * t +
      3.6478483247632045) * t +
      5.769497221460691) * t +
      4.630337846156546) * t +
      1.4234371107496835
  const below =
    ((((((1.0507500716444169e-9 * t + 0.0005475938084995345) * t +
      0.015198666563616457) * t +
      0.14810397642748008) * t +
      0.6897673349851) * t +
      1.6763848301838038) * t +
      2.053191626637759) * t +
      1
  return negative ? -above / below : above / below
}

/**
 * ln a for a positive integer below 2³², as in fdlibm: the exponent plus a polynomial in the
 * mantissa.
 */
function logarithm(a: u32): f64 {
  let exponent = 31 - clz<u32>(a)
  let mantissa = <f64>a / <f64>((<u32>1) << exponent)
  if (mantissa > Math.SQRT2) {
    mantissa *= 0.5
    exponent += 1
  }
  const f = mantissa - 1
  const half = 0.5 * f * f
  const s = f / (2 + f)
  const z = s * s
  const w = z * z
  const even = w * (0.3999999999940942 + w * (0.22222198432149784 + w * 0.15313837699209373))
  const odd =
    z *
    (0.6666666666666735 +
      w * (0.2857142874366239 + w * (0.1818357216161805 + w * 0.14798198605116586)))
  const rest = s * (half + (even + odd)) + <f64>exponent * LN2_LOW
  return rest - half + f + <f64>exponent * LN2_HIGH
}
