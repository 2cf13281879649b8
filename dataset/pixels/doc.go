// Package pixels turns the bytes of a picture file into the 8-bit RGB pixels that a
// model of Hugging Face is given: what Pillow's Image.open and convert("RGB") decode,
// and what ViTImageProcessor resizes, bit for bit (JPEG files with libjpeg-turbo; Go's
// own decoder differs by a level here and there).
//
// It neither finds pictures nor stores them; package dataset does. Start reading at
// Processor.Pixels; what it does not know (rescaling, normalising) is the model's.
package pixels
