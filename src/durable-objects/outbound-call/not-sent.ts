/** In open dev mode under `npm start`, what every call passes answers with this, and why, where nothing listens. */
export const NOT_SENT_HEADER = "x-posthouse-not-sent";
