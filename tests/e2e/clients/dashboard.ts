// The types of a dashboard as JSON: Grafana's own, with its enums as the words that they stand for,
// and with the options of the kinds of panels that we use.
import type { AnnotationQuery, Dashboard, Panel, RowPanel } from '@grafana/schema';
import type * as bargauge from '@grafana/schema/dist/types/raw/composable/bargauge/panelcfg/x/types.gen';
import type * as heatmap from '@grafana/schema/dist/types/raw/composable/heatmap/panelcfg/x/types.gen';
import type * as stat from '@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen';
import type * as states from '@grafana/schema/dist/types/raw/composable/statetimeline/panelcfg/x/types.gen';
import type * as table from '@grafana/schema/dist/types/raw/composable/table/panelcfg/x/types.gen';
import type * as timeseries from '@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen';

type Json<T> = T extends string ? `${T}`
  : T extends number | boolean | null | undefined ? T
  : T extends (infer Each)[] ? Json<Each>[]
  : T extends object ? { [Name in keyof T]: Json<T[Name]> }
  : T;
type Of<Type extends string, Options, Custom = {}> =
  Omit<Panel<Options, Custom>, 'type' | 'options'> & { type: Type; options: Partial<Options> };
type Known =
  | Of<'bargauge', bargauge.Options>
  | Of<'heatmap', heatmap.Options, heatmap.FieldConfig>
  | Of<'stat', stat.Options>
  | Of<'state-timeline', states.Options, states.FieldConfig>
  | Of<'table', table.Options, table.FieldConfig>
  | Of<'timeseries', timeseries.Options, timeseries.FieldConfig>;
// Of the data source Prometheus, which is no part of the package.
type Marks = AnnotationQuery & { expr: string; step: string; titleFormat: string };
type Board = Omit<Dashboard, 'panels' | 'annotations'> &
  { panels: (Known | RowPanel)[]; annotations: { list: Marks[] } };

export const board: Json<Board> = BOARD;
