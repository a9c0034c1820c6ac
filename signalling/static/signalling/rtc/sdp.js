/** What of a description may be left out when it is sent. The browser's own is never touched. */

/** Of a bundle they are said once, in the first section that is used (RFC 8843, 7.1.3 and RFC 8859, "TRANSPORT"). */
const OF_THE_TRANSPORT = /^a=(rtcp|ice-ufrag|ice-pwd|ice-options|fingerprint|setup|candidate|end-of-candidates)[:\s]/;

/**
 * An answer without what BUNDLE makes redundant. Chromium repeats it in each section, and 98 of them, as for fifty
 * people, are over the 64 KiB that a frame may have; without it they are a third shorter.
 * @param {string} sdp
 */
export function compact(sdp) {
  const [session = "", ...sections] = sdp.split(/^(?=m=)/m);
  const first = sections.findIndex((section) => !/^m=\S+ 0 /.test(section));
  if (first === -1 || !isBundle(session, sections.length)) return sdp;
  const said = new Set(lines(sections[first] ?? ""));
  const isRedundant = (/** @type {string} */ line) => OF_THE_TRANSPORT.test(line) && said.has(line);
  const shorter = (/** @type {string} */ section) => lines(section).filter((line) => !isRedundant(line)).join("");
  return [session, ...sections.map((section, index) => (index > first ? shorter(section) : section))].join("");
}

/** Whether one transport carries all sections. @param {string} session @param {number} sections */
function isBundle(session, sections) {
  const mids = /^a=group:BUNDLE (.*?)\r?$/m.exec(session)?.[1];
  return mids?.trim().split(/\s+/).length === sections;
}

/** Each with its end. @param {string} text */
function lines(text) {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}
