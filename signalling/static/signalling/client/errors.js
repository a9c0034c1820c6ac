/** The server refused a request, or the connection was lost before the server answered. */
export class SignallingError extends Error {
  /**
   * @param {{code: string, message?: string, closeCode?: number} & Record<string, unknown>} frame
   */
  constructor({code, message, closeCode, retryAfter, ...details}) {
    super(message || code);
    this.name = "SignallingError";
    this.code = code;
    this.closeCode = closeCode;
    this.retryAfter = typeof retryAfter === "number" ? retryAfter : undefined;
    this.details = details;
  }
}
