// What captions: Transformers.js in a worker, or the server that the page comes from.

// open makes the captioner of a choice {device, dtype, bytes, runtime, url}. It has caption(blob, grow), which promises
// {caption, milliseconds, loaded}, and close(); where the browser computes also others(blob), which promises captions drawn by chance.
// loading hears of loaded and total bytes.
export function open(choice, loading) {
  return choice.device === 'server' ? server(choice.url) : local(choice, loading);
}

// local runs worker.js, so that the page answers while it computes.
function local(choice, loading) {
  const worker = new Worker('worker.js', { type: 'module' });
  let asked; // {grow, resolve, reject} of what is under way
  let tail = Promise.resolve(); // captions come one after another
  worker.onmessage = ({ data }) => {
    if (data.loading) loading(...data.loading);
    else if (data.text !== undefined) asked.grow(data.text);
    else if (data.error) asked.reject(new Error(data.error));
    else asked.resolve(data);
  };
  worker.onerror = (event) => asked?.reject(new Error(event.message || 'the program of this page cannot be loaded'));
  worker.postMessage({ open: choice });
  const ask = (question, grow) =>
    (tail = tail
      .catch(() => {})
      .then(
        () =>
          new Promise((resolve, reject) => {
            asked = { grow, resolve, reject };
            worker.postMessage(question);
          }),
      ));
  return {
    caption: (blob, grow) => ask({ caption: blob }, grow),
    others: async (blob) => (await ask({ others: blob })).others,
    close() {
      worker.terminate();
      asked?.reject(new Error('closed'));
    },
  };
}

// server sends pictures to POST url and reads the caption as it grows.
function server(url) {
  const control = new AbortController();
  return {
    close: () => control.abort(),
    async caption(blob, grow) {
      const answer = await fetch(url, {
        method: 'POST',
        body: blob,
        headers: { accept: 'text/event-stream', 'content-type': blob.type || 'application/octet-stream' },
        signal: control.signal,
      });
      if (!answer.ok) throw new Error((await problem(answer)) ?? `The server answers ${answer.status}.`);
      for await (const { event, data } of events(answer.body)) {
        if (event === 'text') grow(data.text);
        if (event === 'caption') return data;
        if (event === 'error') throw new Error(data.detail);
      }
      throw new Error('The server’s answer ended too early.');
    },
  };
}

async function problem(answer) {
  try {
    return (await answer.json()).detail;
  } catch {
    return undefined;
  }
}

// events are the server-sent events of a body, their data parsed.
async function* events(body) {
  let text = '';
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    text += part.value;
    const whole = text.split('\n\n');
    text = whole.pop();
    for (const lines of whole) {
      const fields = Object.fromEntries(lines.split('\n').map((line) => line.split(/: (.*)/s, 2)));
      yield { event: fields.event, data: JSON.parse(fields.data) };
    }
  }
}
