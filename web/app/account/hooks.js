// Hooks: addresses at which a program that can only post reaches one person or group.
import { html } from '../../vendor/preact.js';
import { Tokens } from './tokens.js';

export const Screen = () => html`<${Tokens} hooks />`;
