// Elements and keys, without a framework.

type Child = Node | string | null | undefined | false;
type Attributes = Record<string, string | boolean | ((event: Event) => void) | undefined>;

/** Make an element: `h("p.soft", { id: "x" }, "text")`. Functions become listeners; false leaves an attribute out. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K | `${K}.${string}`,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name as K);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child): child is Node | string => Boolean(child)));
  return element;
}

/** A key cap and what it does; a click does the same as the key. */
export function key(cap: string, does: string, press: () => void, main = false): HTMLButtonElement {
  return h(
    "button",
    { class: main ? "key main" : "key", type: "button", click: (event) => {
      (event.currentTarget as HTMLElement).blur(); // so that the space bar does not press it again
      press();
    } },
    h("kbd", {}, cap),
    h("span", {}, does),
  );
}

export function clock(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}:${String(whole % 60).padStart(2, "0")}`;
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${String(whole % 60).padStart(2, "0")}`;
}

export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** True while someone types. */
export function typing(event: KeyboardEvent): boolean {
  const target = event.target as HTMLElement;
  return target.tagName === "TEXTAREA" || target.tagName === "INPUT" || event.ctrlKey || event.metaKey || event.altKey;
}
