// What the server says of itself when a page opens.

export interface AboutStudy {
  mode: "record" | "review";
  data: string;
  readers: string[];
  source: string;
}
