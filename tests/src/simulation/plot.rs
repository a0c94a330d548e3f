//! The curves as an SVG.

use std::fmt::Write as _;

use super::curve::Point;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 420.0;
const MARGIN: f64 = 56.0;
/// The share of people that the right edge stands for.
const PEOPLE_MAX: f64 = 0.2;

/// Each line with its name and the way that it is dashed.
pub fn plot(lines: &[(&str, &str, Vec<Point>)]) -> String {
    let x = |people: f64| MARGIN + people.min(PEOPLE_MAX) / PEOPLE_MAX * (WIDTH - 2.0 * MARGIN);
    let y = |attackers: f64| HEIGHT - MARGIN - attackers * (HEIGHT - 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\" role=\"img\">\n\
         <title>Attackers asked for a second factor, against people asked for one</title>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    let mut add = |line: std::fmt::Arguments<'_>| {
        svg.write_fmt(line).expect("a string takes it");
        svg.push('\n');
    };
    for tenth in 0..=10 {
        let share = f64::from(tenth) / 10.0;
        let (left, right, at) = (x(0.0), x(PEOPLE_MAX), y(share));
        add(format_args!(
            "<path d=\"M{left:.0} {at:.1}H{right:.0}\" stroke=\"#ddd\"/>"
        ));
        add(format_args!(
            "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}%</text>",
            left - 6.0,
            at + 4.0,
            tenth * 10
        ));
    }
    for step in 0..=4 {
        let share = f64::from(step) * PEOPLE_MAX / 4.0;
        add(format_args!(
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{:.0}%</text>",
            x(share),
            HEIGHT - MARGIN + 18.0,
            share * 100.0
        ));
    }
    add(format_args!(
        "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">people's sign-ins asked for a second factor</text>",
        WIDTH / 2.0,
        HEIGHT - 14.0
    ));
    add(format_args!(
        "<text x=\"{MARGIN:.0}\" y=\"{:.0}\">attackers' sign-ins asked for one</text>",
        MARGIN - 14.0
    ));
    for (number, (name, dashes, points)) in lines.iter().enumerate() {
        let mut path = String::new();
        for point in points.iter().take_while(|point| point.people <= PEOPLE_MAX) {
            let command = if path.is_empty() { 'M' } else { 'L' };
            write!(
                path,
                "{command}{:.1} {:.1}",
                x(point.people),
                y(point.attackers)
            )
            .expect("a string takes it");
        }
        add(format_args!(
            "<path d=\"{path}\" fill=\"none\" stroke=\"#000\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>"
        ));
        let at = HEIGHT - MARGIN - 16.0 * (lines.len() - number) as f64;
        let (from, to) = (WIDTH - MARGIN - 150.0, WIDTH - MARGIN - 110.0);
        add(format_args!(
            "<path d=\"M{from:.0} {at:.0}H{to:.0}\" stroke=\"#000\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/><text x=\"{:.0}\" y=\"{:.0}\">{name}</text>",
            to + 8.0,
            at + 4.0
        ));
    }
    svg.push_str("</svg>\n");
    svg
}
