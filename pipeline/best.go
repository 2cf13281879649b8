package pipeline

import "distilvit/artifact/record"

// MetricForBestModel is the metric that the best epoch is chosen by.
func (c Config) MetricForBestModel() string {
	if c.Train.MetricForBestModel == "" {
		return record.MetricRougeL
	}
	return c.Train.MetricForBestModel
}
