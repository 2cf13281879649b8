// Package model is the network: a ViT encoder and a GPT-2 decoder with
// cross-attention under the names of Hugging Face's VisionEncoderDecoderModel,
// its config and weights on disk, and caption generation. It does not train
// (model/train) and knows no tokenizer. Start reading at VisionEncoderDecoder in
// captionnet.go, then vit.go and gpt2.go.
package model
