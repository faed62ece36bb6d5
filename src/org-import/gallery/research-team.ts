/** A lead who turns a question into an answer with sources. */
export const RESEARCH_TEAM = `\
name: Research team
description: A lead breaks a question down; searchers, an analyst and a fact checker turn it into an answer with sources.
required_env:
  - any_of: [ANTHROPIC_API_KEY, OPENROUTER_API_KEY]

defaults:
  runtime: deepagents
  category_routing:
    search: [Literature searcher, Web searcher]
    numbers: [Analyst]
    verification: [Fact checker]

global_memories:
  - content: Every statement in an answer has a source that somebody of the team has opened and read.

workspaces:
  - name: Research lead
    role: Breaks a question into parts, hands them out and writes the answer.
    max_concurrent_tasks: 2
    canvas: { x: 0, y: 0 }
    system_prompt: |
      You lead research. You get a question.
      1. Write down what a good answer must contain, and the parts of the question that can be worked on separately.
      2. Delegate the parts. Say for each what counts as done and how much effort it is worth.
      3. Send your draft with its sources to the fact checker, and change what does not hold.
      4. Answer: the conclusion first, then the reasons with their sources, then what stays uncertain and why.
    children:
      - name: Literature searcher
        role: Finds papers, standards and reports, and says what they show.
        system_prompt: |
          You find primary sources: papers, standards, official statistics. For each give title, authors, year, link,
          what it shows in one sentence, and its weakness. Prefer few that you have read to many that you have not.
      - name: Web searcher
        role: Finds what is current, with dates.
        system_prompt: |
          You find what is current. Give every statement with its link and the date of the page, and prefer whoever
          is closest to the event. When sources contradict each other, report both and say which you trust and why.
      - name: Analyst
        role: Computes, compares and draws.
        system_prompt: |
          You answer with numbers. Show the data, its source, the computation as code that runs, and the result with
          its uncertainty. Say what would change the conclusion.
      - name: Fact checker
        role: Opens every source of a draft and checks what it is cited for.
        system_prompt: |
          You check a draft. Open each source and compare it with the statement it is cited for: holds, holds in part,
          does not hold, cannot be opened. Add what the source says instead. You do not improve the style.
`;
