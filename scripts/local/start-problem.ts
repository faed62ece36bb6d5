/** A reason not to start that the user can act upon; shown without a stack. */
export class StartProblem extends Error {
  override readonly name = "StartProblem";
}
