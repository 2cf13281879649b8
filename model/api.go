package model

import (
	"errors"

	"github.com/gomlx/compute"
)

var errSoon = errors.New("not yet")

type Tensor struct {
	Shape []int
	Data  []float32
}
type Weights map[string]*Tensor

func ReadConfig(dir string) (*Config, error)                                { return nil, errSoon }
func (c *Config) Validate() error                                           { return errSoon }
func (c Config) MarshalJSON() ([]byte, error)                               { return nil, errSoon }
func (c *Config) UnmarshalJSON(b []byte) error                              { return errSoon }
func (c *Config) WriteFile(dir string) error                                { return errSoon }
func Preset(name string) (Config, bool)                                     { return Config{}, false }
func (c *Config) Shapes() map[string][]int                                  { return nil }
func Init(c *Config, seed uint64) Weights                                   { return nil }
func ReadWeights(dir string, c *Config) (Weights, error)                    { return nil, errSoon }
func WriteWeights(path string, w Weights, metadata map[string]string) error { return errSoon }

type Captioner struct{}
type GenerateOptions struct{ MaxLength, NumBeams, BatchSize int }

// Normalization of pixels: (u8/255 - Mean)/Std per channel.
type Normalization struct{ Mean, Std [3]float32 }

func NewCaptioner(be compute.Backend, c *Config, w Weights) (*Captioner, error) { return nil, errSoon }
func (g *Captioner) SetNormalization(n Normalization)                           {}
func (g *Captioner) Generate(pixels []uint8, n int, o GenerateOptions) ([][]int32, error) {
	return nil, errSoon
}
func (g *Captioner) Logits(pixels []uint8, ids []int32) ([]float32, error) { return nil, errSoon }
func (g *Captioner) Close()                                                {}
