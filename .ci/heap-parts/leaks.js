// What memlab is to call a leak: its own idea is about web pages.
module.exports = {
  leakFilter: node => node.type === 'object' && node.name === 'service.Session',
};
