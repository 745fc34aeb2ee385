//! Reads tables of comma-separated values.
//!
//! # Source
//! RFC 4180. Tabs and semicolons separate too, as spreadsheets write them.

/** The rows of a table, at most `most`. */
export function parseCsv(text: string, most: number): string[][] {
  const separator = separatorOf(text);
  const rows: string[][] = [];
  let row: string[] = [];
  let field = "";
  let quoted = false;
  for (let at = 0; at < text.length; at++) {
    const letter = text[at];
    if (quoted) {
      if (letter !== '"') field += letter;
      else if (text[at + 1] === '"') {
        field += '"';
        at += 1;
      } else quoted = false;
    } else if (letter === '"' && field === "") quoted = true;
    else if (letter === separator) {
      row.push(field);
      field = "";
    } else if (letter === "\n") {
      row.push(field);
      rows.push(row);
      [row, field] = [[], ""];
      if (rows.length === most) return rows;
    } else if (letter !== "\r") field += letter;
  }
  if (field !== "" || row.length > 0) rows.push([...row, field]);
  return rows;
}

/** The separator that the first line has most of. */
function separatorOf(text: string): string {
  const line = text.slice(0, text.indexOf("\n") < 0 ? undefined : text.indexOf("\n")).replace(/"[^"]*"/g, "");
  const count = (separator: string): number => line.split(separator).length;
  // Texts have more commas than tabs.
  return ["\t", ";"].reduce((best, separator) => (count(separator) > 1 && count(separator) >= count(best) ? separator : best), ",");
}
