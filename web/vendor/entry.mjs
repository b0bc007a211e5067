// What is vendored: the names that the page uses. README.md says how the file is made.
export { h, render, Component } from "preact";
export { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
export { signal, computed, effect, batch } from "@preact/signals";
import { h } from "preact";
import htm from "htm";
export const html = htm.bind(h);
