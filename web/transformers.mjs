// Captions a model directory's pictures with Transformers.js, as a page or a Node program would.

const packages = { 3: 'tjs3', 4: '@huggingface/transformers' };

// load gives a function from a picture's path to {caption, token_ids}: what the pipeline returns, and the ids that its generate()
// produced, without the start token.
export async function load({ model, dtype, version }) {
  if (!packages[version]) throw new Error(`Transformers.js ${version}: 3 and 4 are known`);
  const { env, pipeline } = await import(packages[version]);
  const { dirname, basename, resolve } = await import('node:path');
  const directory = resolve(model);
  env.allowRemoteModels = false;
  env.useFSCache = false;
  env.localModelPath = dirname(directory) + '/';
  const captioner = await pipeline('image-to-text', basename(directory), dtype ? { dtype } : {});

  let ids;
  const generate = captioner.model.generate.bind(captioner.model);
  captioner.model.generate = async (options) => {
    const output = await generate(options);
    ids = Array.from(output.data, Number).slice(1);
    return output;
  };
  const caption = async (picture) => {
    const [{ generated_text }] = await captioner(picture);
    return { caption: generated_text, token_ids: ids };
  };
  caption.close = () => captioner.dispose();
  return caption;
}
