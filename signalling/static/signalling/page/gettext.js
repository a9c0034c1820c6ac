/**
 * Translations of the texts of this page. The server puts them into the page as JSON
 * (signalling/page_texts.py). Texts without a translation stay English.
 */

const element = globalThis.document?.getElementById("signalling-translations");
/** @type {Map<string, string>} */
const translations = new Map(Object.entries(JSON.parse(element?.textContent || "{}")));

/** Return the translation of a text. `make messages` finds the calls. @param {string} text */
export const gettext = (text) => translations.get(text) || text;

/**
 * Replace each `{name}` in a text.
 * @param {string} text
 * @param {Record<string, unknown>} values
 */
export const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
