// The types of preact.js, as far as the page uses them.
export interface Signal<T> { value: T; peek(): T }
export function signal<T>(value: T): Signal<T>;
export function computed<T>(work: () => T): { readonly value: T; peek(): T };
export function effect(work: () => void): () => void;
export function batch<T>(work: () => T): T;
export function h(type: unknown, props: object | null, ...children: unknown[]): object;
export function render(what: object, where: Element): void;
export function html(parts: TemplateStringsArray, ...values: unknown[]): object;
export class Component {
  props: object;
  shouldComponentUpdate(next: object): boolean;
  render(props: object): object;
}
export function useState<T>(first: T): [T, (next: T | ((now: T) => T)) => void];
export function useRef<T>(first: T): { current: T };
export function useEffect(work: () => void | (() => void), on?: unknown[]): void;
export function useLayoutEffect(work: () => void | (() => void), on?: unknown[]): void;
