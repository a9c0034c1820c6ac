/**
 * What a participant is called. The label is made here and nowhere else.
 *
 * Peers choose their display names, so one may look like another user's. The server sends keys of
 * each peer's user name and display name; names that look alike share a key. A display name that
 * looks like a name of another user is shown together with the user name.
 */

/** @import {UserInfo} from "../client/protocol.js" */
/**
 * @typedef {{username: string, displayName: string, nameKeys: string[] | null}} Named without keys
 *   (from an earlier server), a display name is always shown together with the user name
 */

const ISOLATE = "\u2068"; // so that the letters of a name cannot reorder what follows
const POP = "\u2069";
const BRACKET = "("; // begins the key of a part between brackets

/** @param {UserInfo} [userInfo] @param {string[]} [nameKeys] @returns {Named} */
export function named({username, displayName = ""} = {username: ""}, nameKeys) {
  return {username, displayName, nameKeys: nameKeys ?? null};
}

/**
 * Label everyone in a room: each label depends on the names of the others.
 * @template {Named & {name: string}} T
 * @param {Iterable<T>} participants
 * @param {Named} own our own names, which the others must not imitate either
 * @returns {T[]} those whose label has changed
 */
export function relabel(participants, own) {
  const everyone = [...participants];
  const ambiguous = findAmbiguous([own, ...everyone]);
  return everyone.filter((participant) => {
    const before = participant.name;
    participant.name = labelOf(participant, !participant.nameKeys || ambiguous.has(participant));
    return participant.name !== before;
  });
}

/** @param {Named} named @param {boolean} isAmbiguous */
function labelOf({username, displayName}, isAmbiguous) {
  if (!displayName || displayName === username) return username;
  return isAmbiguous ? `${ISOLATE}${displayName}${POP} (${username})` : displayName;
}

/** Return those whose names look like another user's. @param {Named[]} everyone */
function findAmbiguous(everyone) {
  /** Owners of each key, and if it is of a part. @type {Map<string, [Named, boolean][]>} */
  const byKey = new Map();
  for (const one of everyone)
    for (const key of one.nameKeys ?? []) {
      const plain = key.replace(BRACKET, "");
      byKey.set(plain, [...(byKey.get(plain) ?? []), [one, plain !== key]]);
    }
  const alike = [...byKey.values()].flatMap((holders) =>
    holders.filter(([one, isPart]) =>
      holders.some(([other, isOtherPart]) => other.username !== one.username && !(isPart && isOtherPart)),
    ),
  );
  return new Set(alike.map(([one]) => one));
}
