// Which steps stand together in one block: whole lines where it can be, so that the text flows as if it were one.

const SHORTEST = 120; // steps of a block
const LONGEST = 1200; // a line that does not end is cut all the same

/** The blocks [from, to) of the steps of a trace between two of them. */
function blocksOf(trace, from, to) {
  const blocks = [];
  let start = from;
  for (let step = from; step < to; step++) {
    const count = step + 1 - start;
    if ((count >= SHORTEST && trace.text(step).endsWith("\n")) || count === LONGEST) {
      blocks.push([start, step + 1]);
      start = step + 1;
    }
  }
  if (start < to) blocks.push([start, to]);
  return blocks;
}

/** How many lines a block may take at so many characters a line. */
function linesOf(trace, from, to, characters) {
  let lines = 1;
  let filled = 0;
  for (let step = from; step < to; step++) {
    const parts = trace.text(step).split("\n");
    for (let i = 0; i < parts.length; i++) {
      if (i > 0) {
        lines++;
        filled = 0;
      }
      filled += parts[i].length;
      while (filled > characters) {
        lines++;
        filled -= characters;
      }
    }
  }
  return lines;
}
