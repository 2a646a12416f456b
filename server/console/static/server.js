// What the page asks of its node: one stream of events, and requests that are answered once.

const AGAIN_MS = 4000;

export async function get(path, asked) {
  const answer = await fetch(`${path}?${new URLSearchParams(asked)}`, { cache: "no-store" });
  return told(answer);
}

export async function act(path, asked) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json", "x-globaltable-console": "act" },
    body: JSON.stringify(asked),
  });
  return told(answer);
}

async function told(answer) {
  let body = {};
  try {
    body = await answer.json();
  } catch {
    // Not from the console itself: its status has to do.
  }
  if (answer.ok) return body;
  const error = new Error(body.error ?? `the node answered with status ${answer.status}`);
  error.status = answer.status;
  error.body = body;
  throw error;
}

// Keeps one stream open, with the watch that is wanted. `on` has a function for each event, and
// `lost`, which is told why there is none now.
export class Stream {
  constructor(on) {
    this.on = on;
    this.asked = {};
    this.source = null;
    this.timer = 0;
  }

  open(asked = this.asked) {
    this.asked = asked;
    this.close();
    const source = new EventSource(`/api/stream?${new URLSearchParams(asked)}`);
    this.source = source;
    for (const name of ["course", "view", "watch", "changes"]) {
      source.addEventListener(name, (event) => this.on[name](JSON.parse(event.data)));
    }
    source.addEventListener("refused", (event) => {
      this.close();
      this.lost(JSON.parse(event.data).error);
    });
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) this.wonder(source);
      else this.on.lost("The node does not answer; trying again");
    });
  }

  // A stream that was refused does not say why; the same asked once does.
  async wonder(source) {
    try {
      await get("/api/snapshot", {});
      this.lost("The stream was refused; trying again");
    } catch (error) {
      if (this.source === source) this.lost(error.message);
    }
  }

  lost(why) {
    this.on.lost(why);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), AGAIN_MS);
  }

  get isOpen() {
    return this.source !== null || this.timer !== 0;
  }

  close() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.source?.close();
    this.source = null;
  }
}
