// The alerts, recording rules and dashboards as a monitoring mixin: `jsonnet -e '(import "mixin.libsonnet").prometheusAlerts'`.
local groups(file) = std.parseYaml(file).groups;
{
  prometheusAlerts+:: {
    groups+:
      groups(importstr 'prometheus/rules/infobip-delivery-alerts.yml')
      + groups(importstr 'prometheus/rules/infobip-exporter-alerts.yml'),
  },
  prometheusRules+:: {
    groups+: groups(importstr 'prometheus/rules/infobip-recording.yml'),
  },
  grafanaDashboards+:: {
    'infobip-delivery.json': import 'grafana/dashboards/infobip-delivery.json',
    'infobip-cost.json': import 'grafana/dashboards/infobip-cost.json',
    'infobip-campaigns.json': import 'grafana/dashboards/infobip-campaigns.json',
    'infobip-exporter.json': import 'grafana/dashboards/infobip-exporter.json',
  },
}
