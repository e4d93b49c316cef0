/** The version of this library, and of the server released with it. */
export const VERSION = '0.1.0';
