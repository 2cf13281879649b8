// captionAll captions pictures with each dtype of a model and gives each caption to report: {dtype, image, caption, token_ids}, or
// {dtype, error} once where a dtype cannot be loaded or run. work is a list of {dtype, images}; an empty dtype is the library's own
// choice. Node and pages load this file.
export async function captionAll(library, { version, model, device, work }, report) {
  for (const { dtype, images } of work) {
    try {
      if (version === '2' && dtype && dtype !== 'fp32' && dtype !== 'q8') throw new Error(`Transformers.js 2 knows no ${dtype}`);
      const options = version === '2' ? { quantized: dtype !== 'fp32' } : { ...(device && { device }), ...(dtype && { dtype }) };
      const captioner = await library.pipeline('image-to-text', model, options);
      let ids;
      const generate = captioner.model.generate.bind(captioner.model);
      captioner.model.generate = async (...args) => {
        const output = await generate(...args);
        ids = Array.from(output.data ?? output[0], Number).slice(1); // version 2 gives plain arrays
        return output;
      };
      for (const image of images) {
        const [{ generated_text }] = await captioner(image);
        await report({ ...(dtype && { dtype }), image, caption: generated_text, token_ids: ids });
      }
      await captioner.dispose();
    } catch (error) {
      await report({ dtype, error: String(error?.message ?? error) });
    }
  }
}
