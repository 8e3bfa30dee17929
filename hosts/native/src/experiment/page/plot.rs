//! Plots, as figures of HTML with SVG in them.
//!
//! Lines and texts have colours that the page's style puts others for, light or dark ([`INK`], [`GRID`]); those of series
//! can be told apart on either ground. Legends are HTML, since the width of a text is not known here.

use std::ops::Range;

use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::combinators::IntoLogRange;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, Rectangle, Text};
use plotters::prelude::SVGBackend;
use plotters::series::{DashedLineSeries, LineSeries};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, RGBColor, TextStyle};

use super::escaped;
use super::unit::Unit;

/// The colour of texts and axes.
const INK: RGBColor = RGBColor(0, 0, 0);
/// The colour of the grid.
const GRID: RGBColor = RGBColor(200, 200, 200);
/// Colours of series.
const PALETTE: [RGBColor; 8] = [
    RGBColor(47, 126, 216),
    RGBColor(224, 123, 0),
    RGBColor(31, 158, 119),
    RGBColor(198, 77, 154),
    RGBColor(138, 111, 209),
    RGBColor(176, 137, 0),
    RGBColor(209, 73, 91),
    RGBColor(110, 130, 140),
];
/// How wide a plot is.
const WIDTH: u32 = 720;
/// How high one with curves is.
const HEIGHT: u32 = 340;
/// How high a row of bars is.
const ROW: u32 = 26;
/// The room for the names of rows, and for their values.
const NAMES: u32 = 270;
const VALUES: u32 = 120;
/// The size of texts.
const TEXT: u32 = 18;
/// From where the ratio of the greatest to the least is, an axis is logarithmic if it may be.
const WIDE: f64 = 30.0;

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A line.
    Line,
    /// A line with dots: few points, each of which is one run.
    Dotted,
    /// A dashed line with rings: what others published.
    Reference,
}

/// A series of points, in the order of their x.
pub struct Series {
    /// What the legend calls it.
    pub name: String,
    /// Its points.
    pub points: Vec<(f64, f64)>,
    /// How it is drawn.
    pub mark: Mark,
}

/// Curves over an axis.
pub struct Curves {
    /// What they show.
    pub title: String,
    /// What the horizontal axis is, and its unit.
    pub x: (&'static str, Unit),
    /// The unit of the vertical axis.
    pub y: Unit,
    /// The curves.
    pub series: Vec<Series>,
    /// What stands below: whose the references are.
    pub note: String,
}

/// A row of bars.
pub struct Bar {
    /// What stands before it.
    pub name: String,
    /// Its length.
    pub value: f64,
    /// The number of its colour.
    pub kind: usize,
    /// Others published it.
    pub is_reference: bool,
}

/// Bars below each other, and rings for references.
pub struct Bars {
    /// What they show.
    pub title: String,
    /// Their unit.
    pub unit: Unit,
    /// The bars.
    pub rows: Vec<Bar>,
    /// What stands below: whose the references are.
    pub note: String,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// An axis' range: linear from 0, or logarithmic.
enum Scale {
    Linear(Range<f64>),
    Log(Range<f64>),
}

impl Scale {
    /// For these values, logarithmic if they differ much and are all more than 0.
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let (mut least, mut most) = (f64::MAX, 0.0f64);
        for value in values {
            least = least.min(value);
            most = most.max(value);
        }
        if least > 0.0 && most / least >= WIDE {
            return Self::Log(decades(least, most));
        }
        Self::Linear(0.0..if most > 0.0 { most * 1.05 } else { 1.0 })
    }
}

/// A range with two powers of ten in it at least, so that its axis has labels.
fn decades(least: f64, most: f64) -> Range<f64> {
    if most / least >= 100.0 {
        return least / 1.3..most * 1.3;
    }
    10f64.powf(least.log10().floor())..10f64.powf(most.log10().ceil())
}

fn text(color: RGBColor) -> TextStyle<'static> {
    ("sans-serif", TEXT).into_font().color(&color)
}

fn color(number: usize) -> RGBColor {
    PALETTE[number % PALETTE.len()]
}

/// A figure of HTML: title, drawing, legend, note.
fn figure(title: &str, svg: &str, legend: &str, note: &str) -> String {
    let title = escaped(title);
    let svg = svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{title}\" "), 1);
    let note = if note.is_empty() { String::new() } else { format!("<p class=\"note\">{}</p>\n", escaped(note)) };
    format!("<figure>\n<figcaption>{title}</figcaption>\n{svg}{legend}{note}</figure>\n")
}

fn legend(entries: impl Iterator<Item = (String, usize, bool)>) -> String {
    let entries = entries.map(|(name, number, is_reference)| {
        let RGBColor(r, g, b) = color(number);
        let class = if is_reference { "reference" } else { "ours" };
        format!(
            "<li><span class=\"{class}\" style=\"border-color:#{r:02X}{g:02X}{b:02X}\"></span>{}</li>\n",
            escaped(&name)
        )
    });
    format!("<ul class=\"legend\">\n{}</ul>\n", entries.collect::<String>())
}

impl Curves {
    /// The figure; none without points.
    ///
    /// # Errors
    /// What cannot be drawn would be a bug of ours.
    pub fn html(&self) -> anyhow::Result<Option<String>> {
        let points = || self.series.iter().flat_map(|series| &series.points);
        if points().next().is_none() {
            return Ok(None);
        }
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
            match (Scale::of(points().map(|point| point.0)), Scale::of(points().map(|point| point.1))) {
                (Scale::Linear(x), Scale::Linear(y)) => self.draw(&root, x, y),
                (Scale::Linear(x), Scale::Log(y)) => self.draw(&root, x, y.log_scale()),
                (Scale::Log(x), Scale::Linear(y)) => self.draw(&root, x.log_scale(), y),
                (Scale::Log(x), Scale::Log(y)) => self.draw(&root, x.log_scale(), y.log_scale()),
            }?;
            root.present()?;
        }
        let entries = self.series.iter().enumerate();
        let entries = entries.map(|(number, one)| (one.name.clone(), number, one.mark == Mark::Reference));
        Ok(Some(figure(&self.title, &svg, &legend(entries), &self.note)))
    }

    fn draw<X, Y>(&self, root: &Area<'_>, x: X, y: Y) -> anyhow::Result<()>
    where
        X: AsRangedCoord<Value = f64>,
        Y: AsRangedCoord<Value = f64>,
        X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let mut chart = ChartBuilder::on(root)
            .margin(8)
            .margin_right(32)
            .x_label_area_size(52)
            .y_label_area_size(110)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .axis_style(INK)
            .bold_line_style(GRID)
            .light_line_style(GRID.mix(0.3))
            .label_style(text(INK))
            .x_labels(7)
            .y_labels(7)
            .x_label_formatter(&|value| self.x.1.told(*value))
            .y_label_formatter(&|value| self.y.told(*value))
            .x_desc(self.x.0)
            .draw()?;
        for (number, series) in self.series.iter().enumerate() {
            series.draw(&mut chart, color(number))?;
        }
        Ok(())
    }
}

type Chart<'a, 'b, X, Y> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, Y>>;

impl Series {
    fn draw<'b, X, Y>(&self, chart: &mut Chart<'_, 'b, X, Y>, color: RGBColor) -> anyhow::Result<()>
    where
        X: Ranged<ValueType = f64>,
        Y: Ranged<ValueType = f64>,
    {
        let points = || self.points.iter().copied();
        match self.mark {
            Mark::Line => {
                chart.draw_series(LineSeries::new(points(), color.stroke_width(2)))?;
            }
            Mark::Dotted => {
                chart.draw_series(LineSeries::new(points(), color.stroke_width(2)))?;
                chart.draw_series(points().map(|point| Circle::new(point, 5, color.filled())))?;
            }
            Mark::Reference => {
                chart.draw_series(DashedLineSeries::new(points(), 7, 5, color.stroke_width(2)))?;
                chart.draw_series(points().map(|point| Circle::new(point, 4, color.stroke_width(2))))?;
            }
        }
        Ok(())
    }
}

impl Bars {
    /// The figure; none without bars.
    ///
    /// # Errors
    /// What cannot be drawn would be a bug of ours.
    pub fn html(&self) -> anyhow::Result<Option<String>> {
        if self.rows.is_empty() {
            return Ok(None);
        }
        let mut svg = String::new();
        {
            let height = ROW * self.rows.len() as u32 + 64;
            let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
            match Scale::of(self.rows.iter().map(|row| row.value)) {
                Scale::Linear(x) => self.draw(&root, x, 0.0),
                Scale::Log(x) => self.draw(&root, x.clone().log_scale(), x.start),
            }?;
            root.present()?;
        }
        Ok(Some(figure(&self.title, &svg, "", &self.note)))
    }

    /// Bars begin at `from`. Our own go on as lines through the references, so that these can be compared with them.
    fn draw<X>(&self, root: &Area<'_>, x: X, from: f64) -> anyhow::Result<()>
    where
        X: AsRangedCoord<Value = f64>,
        X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let last = self.rows.len() as f64 - 0.5;
        let mut chart = ChartBuilder::on(root)
            .margin(8)
            .margin_right(VALUES)
            .x_label_area_size(40)
            .y_label_area_size(NAMES)
            .build_cartesian_2d(x, last..-0.5)?;
        chart
            .configure_mesh()
            .axis_style(INK)
            .bold_line_style(GRID)
            .light_line_style(GRID.mix(0.3))
            .label_style(text(INK))
            .disable_y_mesh()
            .x_labels(6)
            .y_labels(0)
            .x_label_formatter(&|value| self.unit.told(*value))
            .draw()?;
        let has_references = self.rows.iter().any(|row| row.is_reference);
        for (index, row) in self.rows.iter().enumerate() {
            let (y, color) = (index as f64, color(row.kind));
            if row.is_reference {
                let line = [(from, y), (row.value, y)];
                chart.draw_series(DashedLineSeries::new(line, 7, 5, color.stroke_width(2)))?;
                chart.draw_series([Circle::new((row.value, y), 5, color.stroke_width(2))])?;
            } else {
                chart.draw_series([Rectangle::new([(from, y - 0.3), (row.value, y + 0.3)], color.filled())])?;
            }
            if has_references && !row.is_reference {
                let line = [(row.value, y), (row.value, last)];
                chart.draw_series(LineSeries::new(line, color.stroke_width(1)))?;
            }
            let (start, y_of_text) = chart.backend_coord(&(from, y));
            let (end, _) = chart.backend_coord(&(row.value, y));
            let before = text(INK).pos(Pos::new(HPos::Right, VPos::Center));
            let after = text(INK).pos(Pos::new(HPos::Left, VPos::Center));
            root.draw(&Text::new(row.name.as_str(), (start - 8, y_of_text), before))?;
            root.draw(&Text::new(self.unit.told(row.value), (end + 9, y_of_text), after))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_is_logarithmic_where_values_differ_much() {
        let scale = |values: &[f64]| Scale::of(values.iter().copied());
        assert!(matches!(scale(&[1.0, 20.0]), Scale::Linear(range) if range == (0.0..21.0)));
        assert!(matches!(scale(&[0.0, 2_000.0]), Scale::Linear(_)));
        assert!(matches!(scale(&[0.0, 0.0]), Scale::Linear(range) if range == (0.0..1.0)));
        assert!(matches!(scale(&[2.0, 80.0]), Scale::Log(range) if range == (1.0..100.0)));
        assert!(matches!(scale(&[1.3, 1_000.0]), Scale::Log(range) if range.start == 1.0));
    }

    #[test]
    fn a_plot_has_its_texts_escaped_and_nothing_where_there_are_no_points() {
        let curves = |points: Vec<(f64, f64)>| Curves {
            title: "a < b".to_owned(),
            x: ("replicas", Unit::Count),
            y: Unit::Bytes,
            series: vec![Series { name: "<them>".to_owned(), points, mark: Mark::Reference }],
            note: "\"Them\" & us".to_owned(),
        };
        assert_eq!(curves(Vec::new()).html().expect("it is drawn"), None);
        let html = curves(vec![(33.0, 1e6), (1_025.0, 1e9)]).html().expect("it is drawn").expect("there are points");
        for part in ["a &lt; b", "&lt;them&gt;", "Them&quot; &amp; us", "1 GB", "class=\"reference\""] {
            assert!(html.contains(part), "{part} is missing in: {html}");
        }
        let row = |name: &str, value, is_reference| Bar { name: name.to_owned(), value, kind: 0, is_reference };
        let rows = vec![row("R&D", 3.0, false), row("them", 2.0, true)];
        let bars = Bars { title: "bars".to_owned(), unit: Unit::Count, rows, note: String::new() };
        let html = bars.html().expect("it is drawn").expect("there are bars");
        assert!(html.contains("R&amp;D") && html.contains("<rect"), "{html}");
    }
}
