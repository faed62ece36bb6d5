/** Tells what `npm start` lets calls pass that this one is to a machine of the platform's own; it goes no further. */
export const MACHINE_CALL_HEADER = "x-posthouse-machine-call";
