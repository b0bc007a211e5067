// Numbers as people read them.
import { setting } from '../state.js';

const locale = () => (setting.lang.value === 'en' ? 'en-GB' : 'id');
/** @param {number} n */
export const number = (n) => n.toLocaleString(locale());
/** @param {number} bytes */
export function size(bytes) {
  const units = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte'];
  let [n, unit] = [bytes, 0];
  while (n >= 1000 && unit < units.length - 1) [n, unit] = [n / 1000, unit + 1];
  return n.toLocaleString(locale(), { style: 'unit', unit: units[unit], unitDisplay: unit ? 'short' : 'long',
    maximumFractionDigits: n < 10 && unit ? 1 : 0 });
}
