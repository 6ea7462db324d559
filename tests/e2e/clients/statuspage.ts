// Answers as values of the types that the statuspage.io package declares; only the compiler reads it.
import type {
  Components,
  Incidents,
  Status,
} from "statuspage.io/dist/interfaces";

type Plain<T> = T extends string ? string : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;

// Not maintenances: the package gives their status two types at once, which no value has.
// By way of a constant, for an answer may have more fields than the package knows.
const asked = { summary: SUMMARY, incidents: INCIDENTS };
export const summary: Plain<Status & Components & Incidents> = asked.summary;
export const incidents: Plain<Incidents> = asked.incidents;
